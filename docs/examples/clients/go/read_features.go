// Prints the features of the customers that are named as arguments, a line of JSON each.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Features holds nil where a feature is NULL.
type Features struct {
	OrderCount30d       *int64     `json:"order_count_30d"`
	TotalSpend30d       *float64   `json:"total_spend_30d"`
	OrderValueStddev30d *float64   `json:"order_value_stddev_30d"`
	MeanDiscount        *float64   `json:"mean_discount"`
	HasReturned         *bool      `json:"has_returned"`
	LastOrderTime       *time.Time `json:"last_order_time"`
	LastStatus          *string    `json:"last_status"`
}

// field parses one field of a hash; one that is not there stays nil.
func field[T any](hash map[string]string, name string, target **T, parse func(string) (T, error)) error {
	text, ok := hash[name]
	if !ok {
		return nil
	}
	value, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*target = &value
	return nil
}

func parseInt(text string) (int64, error)     { return strconv.ParseInt(text, 10, 64) }
func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }
func parseTime(text string) (time.Time, error) {
	return time.Parse("2006-01-02 15:04:05.999999-07", text)
}
func parseText(text string) (string, error) { return text, nil }

func parseFeatures(hash map[string]string) (*Features, error) {
	features := &Features{}
	for _, err := range []error{
		field(hash, "order_count_30d", &features.OrderCount30d, parseInt),
		field(hash, "total_spend_30d", &features.TotalSpend30d, parseFloat),
		field(hash, "order_value_stddev_30d", &features.OrderValueStddev30d, parseFloat),
		field(hash, "mean_discount", &features.MeanDiscount, parseFloat),
		field(hash, "has_returned", &features.HasReturned, strconv.ParseBool), // t and f
		field(hash, "last_order_time", &features.LastOrderTime, parseTime),
		field(hash, "last_status", &features.LastStatus, parseText),
	} {
		if err != nil {
			return nil, err
		}
	}
	return features, nil
}

// ReadFeatures returns the features of each customer, nil where there is no such entity;
// it takes one round trip.
func ReadFeatures(ctx context.Context, client *redis.Client, ids []string) ([]*Features, error) {
	replies := make([]*redis.MapStringStringCmd, len(ids))
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = pipe.HGetAll(ctx, "customer:"+id+":features")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	result := make([]*Features, len(ids))
	for i, reply := range replies {
		if len(reply.Val()) == 0 {
			continue
		}
		if result[i], err = parseFeatures(reply.Val()); err != nil {
			return nil, fmt.Errorf("customer %s: %w", ids[i], err)
		}
	}
	return result, nil
}

func main() {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://localhost:6379"
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	rows, err := ReadFeatures(context.Background(), client, os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, features := range rows {
		if err := out.Encode(features); err != nil {
			log.Fatal(err)
		}
	}
}
