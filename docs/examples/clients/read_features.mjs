// Prints the features of the customers that are named as arguments, a line of JSON each.
import { createClient } from 'redis';

// What is read, in the order in which the model wants it, and what makes a value of its text.
const types = {
  order_count_30d: Number, // BigInt for counts that may pass 2^53
  total_spend_30d: Number,
  order_value_stddev_30d: Number,
  mean_discount: Number,
  has_returned: (text) => text === 't',
  last_order_time: (text) => new Date(text.replace(' ', 'T').replace(/\+00$/, 'Z')),
  last_status: String,
};

// An object for each customer, or null where there is no such entity; one round trip.
async function readFeatures(client, ids) {
  // commands that are given without waiting in between travel together
  const hashes = await Promise.all(ids.map((id) => client.hGetAll(`customer:${id}:features`)));
  return hashes.map((row) => {
    if (Object.keys(row).length === 0) return null;
    const parsed = Object.entries(types).map(([name, parse]) => [name, name in row ? parse(row[name]) : null]);
    return Object.fromEntries(parsed);
  });
}

const client = createClient({ url: process.env.REDIS_URL ?? 'redis://localhost:6379' });
await client.connect();
for (const features of await readFeatures(client, process.argv.slice(2))) {
  console.log(JSON.stringify(features));
}
await client.quit();
