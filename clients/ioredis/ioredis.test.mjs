// ioredis against Redstart. Run by `cargo xtask test`; REDSTART_PORT names the server's port.
import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";

import Redis from "ioredis";

const port = Number(process.env.REDSTART_PORT);
const redis = new Redis({ port, lazyConnect: false });

beforeEach(() => redis.flushall());
after(() => redis.quit());

test("strings, with expiry and as buffers", async () => {
  assert.equal(await redis.set("k", "v", "EX", 100), "OK");
  assert.equal(await redis.get("k"), "v");
  assert.ok((await redis.ttl("k")) > 98);
  const bytes = Buffer.from([0, 255, 13, 10]);
  await redis.set("b", bytes);
  assert.deepEqual(await redis.getBuffer("b"), bytes);
});

test("automatic pipelining keeps order", async () => {
  const auto = new Redis({ port, enableAutoPipelining: true });
  const replies = await Promise.all(Array.from({ length: 500 }, () => auto.incr("n")));
  assert.deepEqual(replies, Array.from({ length: 500 }, (_, i) => i + 1));
  await auto.quit();
});

test("transactions", async () => {
  const replies = await redis.multi().set("a", 1).incr("a").rpush("l", "x").incr("l").exec();
  assert.deepEqual(replies.slice(0, 3).map(([error, reply]) => [error, reply]), [[null, "OK"], [null, 2], [null, 1]]);
  assert.match(replies[3][0].message, /WRONGTYPE/);
});

test("collections and scan streams", async () => {
  await redis.hset("h", { a: 1, b: 2 });
  assert.deepEqual(await redis.hgetall("h"), { a: "1", b: "2" });
  await redis.zadd("z", 1, "one", 2, "two");
  assert.deepEqual(await redis.zrange("z", 0, -1, "WITHSCORES"), ["one", "1", "two", "2"]);
  const pipeline = redis.pipeline();
  for (let i = 0; i < 300; i += 1) pipeline.sadd("s", `member:${i}`);
  await pipeline.exec();
  const seen = new Set();
  for await (const batch of redis.sscanStream("s", { count: 20 })) batch.forEach((member) => seen.add(member));
  assert.equal(seen.size, 300);
});

test("publish and subscribe", async () => {
  const listener = new Redis({ port });
  await listener.subscribe("news");
  const message = new Promise((resolve) => listener.on("message", (channel, text) => resolve([channel, text])));
  await redis.publish("news", "hello");
  assert.deepEqual(await message, ["news", "hello"]);
  await listener.quit();
});

test("blocking pops are served in order", async () => {
  const [first, second] = [new Redis({ port }), new Redis({ port })];
  await Promise.all([first.ping(), second.ping()]);
  const a = first.blpop("queue", 5);
  // The second waits only once the first does.
  while (!(await redis.client("LIST")).includes("cmd=blpop")) await new Promise((resolve) => setTimeout(resolve, 5));
  const b = second.blpop("queue", 5);
  while ((await redis.client("LIST")).split("cmd=blpop").length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  await redis.rpush("queue", "1", "2");
  assert.deepEqual(await a, ["queue", "1"]);
  assert.deepEqual(await b, ["queue", "2"]);
  await Promise.all([first.quit(), second.quit()]);
});
