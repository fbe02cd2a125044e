-- What bench/source compares the engine with: a trigger that upserts a counters table.
CREATE TABLE IF NOT EXISTS counters (
    customer_id     int PRIMARY KEY,
    order_count     bigint NOT NULL,
    total_spend     numeric NOT NULL,
    total_squares   numeric NOT NULL,
    last_order_time timestamptz NOT NULL,
    last_status     text
) WITH (fillfactor = 50);
TRUNCATE counters;

CREATE OR REPLACE FUNCTION keep_counters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counters AS c
    VALUES (NEW.customer_id, 1, NEW.total, NEW.total * NEW.total, NEW.created_at, NEW.status)
    ON CONFLICT (customer_id) DO UPDATE SET
        order_count = c.order_count + 1,
        total_spend = c.total_spend + excluded.total_spend,
        total_squares = c.total_squares + excluded.total_squares,
        last_order_time = greatest(c.last_order_time, excluded.last_order_time),
        last_status = CASE WHEN excluded.last_order_time >= c.last_order_time
                           THEN excluded.last_status ELSE c.last_status END;
    RETURN NULL;
END $$;

CREATE TRIGGER keep_counters AFTER INSERT ON orders
    FOR EACH ROW WHEN (NEW.status <> 'cancelled') EXECUTE FUNCTION keep_counters();
