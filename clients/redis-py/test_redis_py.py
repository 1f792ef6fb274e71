"""redis-py against Redstart, in both protocols. Run by `cargo xtask test`; REDSTART_PORT names the server's port."""
import os
import threading
import time
import unittest

import redis

PORT = int(os.environ["REDSTART_PORT"])


class Common:
    """Every test runs once over RESP2 and once over RESP3."""

    protocol = 2

    def setUp(self):
        self.r = redis.Redis(port=PORT, protocol=self.protocol, decode_responses=True)
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def test_strings_and_expiry(self):
        r = self.r
        self.assertTrue(r.set("k", "v", ex=100))
        self.assertEqual(r.get("k"), "v")
        self.assertIn(r.ttl("k"), (99, 100))
        self.assertIsNone(r.set("k", "w", nx=True))
        self.assertEqual(r.set("k", "w", xx=True, get=True), "v")
        self.assertEqual(r.incrby("n", 5), 5)
        self.assertEqual(r.incrbyfloat("f", "0.1"), 0.1)
        self.assertEqual(r.mget("k", "none", "n"), ["w", None, "5"])
        self.assertEqual(r.getrange("k", 0, -1), "w")
        r.psetex("short", 30, "x")
        time.sleep(0.06)
        self.assertIsNone(r.get("short"))

    def test_hashes(self):
        r = self.r
        self.assertEqual(r.hset("h", mapping={"a": 1, "b": "two"}), 2)
        self.assertEqual(r.hgetall("h"), {"a": "1", "b": "two"})
        self.assertEqual(r.hincrby("h", "a", 4), 5)
        self.assertEqual(dict(r.hscan_iter("h")), {"a": "5", "b": "two"})
        self.assertEqual(sorted(r.hrandfield("h", 2)), ["a", "b"])

    def test_lists_and_blocking(self):
        r = self.r
        r.rpush("l", *range(10))
        self.assertEqual(r.lrange("l", 0, 2), ["0", "1", "2"])
        self.assertEqual(r.lpop("l", 2), ["0", "1"])
        self.assertEqual(r.lmove("l", "m", "LEFT", "RIGHT"), "2")
        self.assertIsNone(r.blpop("none", timeout=0.05))
        other = redis.Redis(port=PORT, protocol=self.protocol)
        timer = threading.Timer(0.05, lambda: other.rpush("later", "x"))
        timer.start()
        self.assertEqual(tuple(r.blpop("later", timeout=5)), ("later", "x"))
        timer.join()
        other.close()

    def test_sets_and_sorted_sets(self):
        r = self.r
        r.sadd("s", "a", "b", "c")
        r.sadd("t", "b", "c", "d")
        self.assertEqual(set(r.sinter("s", "t")), {"b", "c"})
        self.assertEqual(r.zadd("z", {"a": 1, "b": 2.5, "c": 3}), 3)
        self.assertEqual([tuple(x) for x in r.zrange("z", 0, -1, withscores=True)], [("a", 1.0), ("b", 2.5), ("c", 3.0)])
        self.assertEqual(r.zscore("z", "b"), 2.5)
        self.assertEqual(r.zrangebyscore("z", "(1", "+inf"), ["b", "c"])
        self.assertEqual(r.zrank("z", "c"), 2)
        self.assertEqual(r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")), 2)
        self.assertAlmostEqual(r.geodist("g", "Palermo", "Catania", "km"), 166.2742, places=3)

    def test_pipelines_and_transactions(self):
        r = self.r
        with r.pipeline(transaction=False) as pipe:
            for i in range(1000):
                pipe.set(f"k{i}", i)
            self.assertEqual(len(pipe.execute()), 1000)
        with r.pipeline() as pipe:
            pipe.watch("k1")
            value = int(pipe.get("k1"))
            pipe.multi()
            pipe.set("k1", value + 1)
            self.assertEqual(pipe.execute(), [True])
        with r.pipeline() as pipe:
            pipe.watch("k1")
            r.set("k1", "other")
            pipe.multi()
            pipe.set("k1", "mine")
            with self.assertRaises(redis.WatchError):
                pipe.execute()
        self.assertEqual(len(list(r.scan_iter("k*", count=50))), 1000)

    def test_publish_and_subscribe(self):
        r = self.r
        p = r.pubsub(ignore_subscribe_messages=True)
        p.subscribe("news")
        p.psubscribe("n*")
        deadline = time.time() + 5
        while r.publish("news", "hello") < 2 and time.time() < deadline:
            time.sleep(0.01)
        got = []
        while len(got) < 2 and time.time() < deadline:
            message = p.get_message(timeout=1)
            if message:
                got.append(message["type"])
        self.assertEqual(sorted(got[:2]), ["message", "pmessage"])
        p.close()

    def test_server_and_clients(self):
        r = self.r
        self.assertTrue(r.ping())
        self.assertIn("redis_version", r.info())
        self.assertEqual(r.info("server")["tcp_port"], PORT)
        r.client_setname("tester")
        self.assertEqual(r.client_getname(), "tester")
        self.assertTrue(any(c["name"] == "tester" for c in r.client_list()))
        old = r.config_get("slowlog-max-len")["slowlog-max-len"]
        r.config_set("slowlog-max-len", 64)
        self.assertEqual(r.config_get("slowlog-max-len"), {"slowlog-max-len": "64"})
        r.config_set("slowlog-max-len", old)
        self.assertGreater(r.memory_usage("none") or 1, 0)
        self.assertGreater(len(r.command()), 150)
        self.assertEqual(r.dbsize(), 0)

    def test_errors_and_binary_values(self):
        raw = redis.Redis(port=PORT, protocol=self.protocol)
        value = bytes(range(256)) * 4096
        raw.set(b"\x00bin\xff", value)
        self.assertEqual(raw.get(b"\x00bin\xff"), value)
        raw.rpush("l", 1)
        with self.assertRaisesRegex(redis.ResponseError, "WRONGTYPE"):
            raw.get("l")
        with self.assertRaisesRegex(redis.ResponseError, "unknown command"):
            raw.execute_command("NOSUCH")
        raw.close()


class Resp2(Common, unittest.TestCase):
    protocol = 2


class Resp3(Common, unittest.TestCase):
    protocol = 3


if __name__ == "__main__":
    unittest.main()
