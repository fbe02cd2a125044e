-- The source table of the benchmarks: the orders of the README.
CREATE TABLE orders (
    id          bigserial PRIMARY KEY,
    customer_id int,
    total       numeric(10,2),
    status      text,
    created_at  timestamptz DEFAULT now()
);
ALTER TABLE orders REPLICA IDENTITY FULL;
