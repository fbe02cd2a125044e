// Prints the features of the customers that are named as arguments, a line of JSON each.
import java.math.BigDecimal;
import java.net.URI;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

import org.json.JSONObject;
import redis.clients.jedis.JedisPooled;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Response;

public class ReadFeatures {
    // What is read, in the order in which the model wants it, and what makes a value of its text.
    static final Map<String, Function<String, Object>> TYPES = new LinkedHashMap<>();
    static {
        TYPES.put("order_count_30d", Long::valueOf);
        TYPES.put("total_spend_30d", BigDecimal::new); // exact; double is enough for most models
        TYPES.put("order_value_stddev_30d", Double::valueOf);
        TYPES.put("mean_discount", Double::valueOf);
        TYPES.put("has_returned", "t"::equals);
        TYPES.put("last_order_time", text -> Instant.parse(text.replace(' ', 'T').replaceFirst("\\+00$", "Z")));
        TYPES.put("last_status", text -> text);
    }

    /** A map for each customer, or null where there is no such entity; one round trip. */
    static List<Map<String, Object>> readFeatures(JedisPooled client, String[] ids) {
        List<Response<Map<String, String>>> replies = new ArrayList<>();
        try (Pipeline pipeline = (Pipeline) client.pipelined()) {
            for (String id : ids)
                replies.add(pipeline.hgetAll("customer:" + id + ":features"));
            pipeline.sync();
        }
        List<Map<String, Object>> result = new ArrayList<>();
        for (Response<Map<String, String>> reply : replies)
            result.add(reply.get().isEmpty() ? null : parse(reply.get()));
        return result;
    }

    /** NULL has no field in the hash, and is null in the map. */
    static Map<String, Object> parse(Map<String, String> hash) {
        Map<String, Object> features = new LinkedHashMap<>();
        TYPES.forEach((name, type) ->
            features.put(name, hash.containsKey(name) ? type.apply(hash.get(name)) : null));
        return features;
    }

    public static void main(String[] ids) {
        String url = System.getenv().getOrDefault("REDIS_URL", "redis://localhost:6379");
        try (JedisPooled client = new JedisPooled(URI.create(url))) {
            for (Map<String, Object> features : readFeatures(client, ids))
                System.out.println(features == null ? "null" : json(features));
        }
    }

    static String json(Map<String, Object> features) {
        JSONObject object = new JSONObject();
        features.forEach((name, value) -> object.put(name, value == null ? JSONObject.NULL
            : value instanceof Instant ? value.toString() : value));
        return object.toString();
    }
}
