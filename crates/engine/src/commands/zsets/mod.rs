//! Commands on sorted sets: the rows, and replies that the files beside share.

mod bounds;
mod combine;
mod pop;
mod range;
mod read;
mod sample;
mod write;

use keyspace::zset::Members;
use structures::Item;

use super::reply_item;
use crate::table::{self, Command, acl, at, command, counted, does, key, range as keys};
use crate::{Protocol, Reply};

use combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
use range::{zrange, zrangebylex, zrangebyscore, zrangestore, zrevrange, zrevrangebylex, zrevrangebyscore};
use read::{zcard, zcount, zlexcount, zmscore, zrank, zrevrank, zscore};
use sample::{zrandmember, zscan};
use write::{zadd, zincrby, zrem, zremrangebylex, zremrangebyrank, zremrangebyscore};

pub(super) use range::store;
pub(super) use write::{AddOptions, add};

pub(super) const COMMANDS: &[Command] = &[
    command("BZMPOP", bzmpop)
        .summary("Removes members at one end of the first sorted set that has any, waiting for one if need be.")
        .since("7.0.0")
        .complexity("O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.")
        .syntax("timeout numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .flags(&[table::WRITE, table::BLOCKING])
        .acl(&[acl::SORTEDSET])
        .keys(&[counted(2, 0, 1, 1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("BZPOPMAX", bzpopmax)
        .summary("Removes the member with the highest score from the first sorted set that has any, waiting for one if need be.")
        .since("5.0.0")
        .complexity("O(log(N)) with N being the number of elements in the sorted set.")
        .syntax("key [key ...] timeout")
        .flags(&[table::WRITE, table::FAST, table::BLOCKING])
        .acl(&[acl::SORTEDSET])
        .keys(&[keys(1, -2, 1, 0, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("BZPOPMIN", bzpopmin)
        .summary("Removes the member with the lowest score from the first sorted set that has any, waiting for one if need be.")
        .since("5.0.0")
        .complexity("O(log(N)) with N being the number of elements in the sorted set.")
        .syntax("key [key ...] timeout")
        .flags(&[table::WRITE, table::FAST, table::BLOCKING])
        .acl(&[acl::SORTEDSET])
        .keys(&[keys(1, -2, 1, 0, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("ZADD", zadd)
        .summary("Adds members to a sorted set, or changes their scores.")
        .since("1.2.0")
        .complexity("O(log(N)) for each item added, where N is the number of elements in the sorted set.")
        .syntax("key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::UPDATE]))]),
    command("ZCARD", zcard)
        .summary("Returns the number of members of a sorted set.")
        .since("1.2.0")
        .complexity("O(1)")
        .syntax("key")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, key::RO)]),
    command("ZCOUNT", zcount)
        .summary("Counts the members of a sorted set whose scores are in a range.")
        .since("2.0.0")
        .complexity("O(log(N)) with N being the number of elements in the sorted set.")
        .syntax("key min max")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZDIFF", zdiff)
        .summary("Returns the members of the first sorted set that no other has.")
        .since("6.2.0")
        .complexity("O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.")
        .syntax("numkeys key [key ...] [WITHSCORES]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("ZDIFFSTORE", zdiffstore)
        .summary("Stores the members of the first sorted set that no other has.")
        .since("6.2.0")
        .complexity("O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is the size of the first set, and K is the size of the result set.")
        .syntax("destination numkeys key [key ...]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), counted(2, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("ZINCRBY", zincrby)
        .summary("Adds a number to the score of a member of a sorted set.")
        .since("1.2.0")
        .complexity("O(log(N)) where N is the number of elements in the sorted set.")
        .syntax("key increment member")
        .flags(&[table::WRITE, table::DENYOOM, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::UPDATE]))]),
    command("ZINTER", zinter)
        .summary("Returns the members that all of several sorted sets have.")
        .since("6.2.0")
        .complexity("O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.")
        .syntax("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("ZINTERCARD", zintercard)
        .summary("Counts the members that all of several sorted sets have.")
        .since("7.0.0")
        .complexity("O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.")
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("ZINTERSTORE", zinterstore)
        .summary("Stores the members that all of several sorted sets have.")
        .since("2.0.0")
        .complexity("O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number of input sorted sets and M being the number of elements in the resulting sorted set.")
        .syntax("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), counted(2, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("ZLEXCOUNT", zlexcount)
        .summary("Counts the members of a sorted set whose bytes are in a range.")
        .since("2.8.9")
        .complexity("O(log(N)) with N being the number of elements in the sorted set.")
        .syntax("key min max")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZMPOP", zmpop)
        .summary("Removes members at one end of the first sorted set that has any.")
        .since("7.0.0")
        .complexity("O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.")
        .syntax("numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .flags(&[table::WRITE])
        .acl(&[acl::SORTEDSET])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("ZMSCORE", zmscore)
        .summary("Returns the scores of several members of a sorted set.")
        .since("6.2.0")
        .complexity("O(N) where N is the number of members being requested.")
        .syntax("key member [member ...]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZPOPMAX", zpopmax)
        .summary("Removes the members with the highest scores from a sorted set and returns them.")
        .since("5.0.0")
        .complexity("O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.")
        .syntax("key [count]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("ZPOPMIN", zpopmin)
        .summary("Removes the members with the lowest scores from a sorted set and returns them.")
        .since("5.0.0")
        .complexity("O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.")
        .syntax("key [count]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::ACCESS, key::DELETE]))]),
    command("ZRANDMEMBER", zrandmember)
        .summary("Returns members of a sorted set by chance.")
        .since("6.2.0")
        .complexity("O(N) where N is the number of members returned")
        .syntax("key [count [WITHSCORES]]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("ZRANGE", zrange)
        .summary("Returns the members of a sorted set in a range of ranks, scores or bytes.")
        .since("1.2.0")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.")
        .syntax("key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZRANGEBYLEX", zrangebylex)
        .summary("Returns the members of a sorted set whose bytes are in a range.")
        .since("2.8.9")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).")
        .syntax("key min max [LIMIT offset count]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZRANGEBYSCORE", zrangebyscore)
        .summary("Returns the members of a sorted set whose scores are in a range.")
        .since("1.0.5")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).")
        .syntax("key min max [WITHSCORES] [LIMIT offset count]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZRANGESTORE", zrangestore)
        .summary("Stores the members of a sorted set in a range of ranks, scores or bytes.")
        .since("6.2.0")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements stored into the destination key.")
        .syntax("dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), at(2, does(&[key::RO, key::ACCESS]))]),
    command("ZRANK", zrank)
        .summary("Returns how many members of a sorted set come before one.")
        .since("2.0.0")
        .complexity("O(log(N))")
        .syntax("key member [WITHSCORE]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZREM", zrem)
        .summary("Removes members from a sorted set.")
        .since("1.2.0")
        .complexity("O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.")
        .syntax("key member [member ...]")
        .flags(&[table::WRITE, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("ZREMRANGEBYLEX", zremrangebylex)
        .summary("Removes the members of a sorted set whose bytes are in a range.")
        .since("2.8.9")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.")
        .syntax("key min max")
        .flags(&[table::WRITE])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("ZREMRANGEBYRANK", zremrangebyrank)
        .summary("Removes the members of a sorted set in a range of ranks.")
        .since("2.0.0")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.")
        .syntax("key start stop")
        .flags(&[table::WRITE])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("ZREMRANGEBYSCORE", zremrangebyscore)
        .summary("Removes the members of a sorted set whose scores are in a range.")
        .since("1.2.0")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed by the operation.")
        .syntax("key min max")
        .flags(&[table::WRITE])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RW, key::DELETE]))]),
    command("ZREVRANGE", zrevrange)
        .summary("Returns the members of a sorted set in a range of ranks, counted from the highest score.")
        .since("1.2.0")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned.")
        .syntax("key start stop [WITHSCORES]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZREVRANGEBYLEX", zrevrangebylex)
        .summary("Returns the members of a sorted set whose bytes are in a range, the last first.")
        .since("2.8.9")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).")
        .syntax("key max min [LIMIT offset count]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZREVRANGEBYSCORE", zrevrangebyscore)
        .summary("Returns the members of a sorted set whose scores are in a range, the highest first.")
        .since("2.2.0")
        .complexity("O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements being returned. If M is constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N)).")
        .syntax("key max min [WITHSCORES] [LIMIT offset count]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZREVRANK", zrevrank)
        .summary("Returns how many members of a sorted set come after one.")
        .since("2.0.0")
        .complexity("O(log(N))")
        .syntax("key member [WITHSCORE]")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZSCAN", zscan)
        .summary("Returns some members of a sorted set with their scores, and where to go on.")
        .since("2.8.0")
        .complexity("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOSCORES]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))])
        .tips(&["nondeterministic_output"]),
    command("ZSCORE", zscore)
        .summary("Returns the score of a member of a sorted set.")
        .since("1.2.0")
        .complexity("O(1)")
        .syntax("key member")
        .flags(&[table::READONLY, table::FAST])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::RO, key::ACCESS]))]),
    command("ZUNION", zunion)
        .summary("Returns the members that any of several sorted sets has.")
        .since("6.2.0")
        .complexity("O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.")
        .syntax("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]")
        .flags(&[table::READONLY])
        .acl(&[acl::SORTEDSET])
        .keys(&[counted(1, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
    command("ZUNIONSTORE", zunionstore)
        .summary("Stores the members that any of several sorted sets has.")
        .since("2.0.0")
        .complexity("O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set.")
        .syntax("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]")
        .flags(&[table::WRITE, table::DENYOOM])
        .acl(&[acl::SORTEDSET])
        .keys(&[at(1, does(&[key::OW, key::UPDATE])), counted(2, 0, 1, 1, does(&[key::RO, key::ACCESS]))]),
];

/// How members and scores lie in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Members only.
    Members,
    /// Each member followed by its score.
    Flat,
    /// An array of the two for each member.
    Nested,
}

impl Layout {
    /// Returns how members lie with or without their scores: RESP3 nests them.
    fn of(with_scores: bool, out: &Reply<'_>) -> Layout {
        match (with_scores, out.protocol) {
            (false, _) => Layout::Members,
            (true, Protocol::Resp2) => Layout::Flat,
            (true, Protocol::Resp3) => Layout::Nested,
        }
    }

    /// Starts an array of `count` members.
    #[inline]
    fn start(self, count: usize, out: &mut Reply<'_>) {
        out.array(if self == Layout::Flat { 2 * count } else { count });
    }

    /// Writes one member.
    #[inline]
    fn member(self, member: Item<'_>, score: f64, out: &mut Reply<'_>) {
        if self == Layout::Nested {
            out.array(2);
        }
        reply_item(member, out);
        if self != Layout::Members {
            out.double(score);
        }
    }

    /// Writes an array of members.
    fn reply(self, members: Members<'_>, out: &mut Reply<'_>) {
        self.start(members.len(), out);
        members.for_each(|(member, score)| self.member(member, score, out));
    }
}
