//! CONFIG, and what parameters mean to the engine.

use config::{Config, EvictionPolicy};
use keyspace::db::Aging;
use keyspace::evict::{Order, Scope};
use keyspace::{Keyspace, Limits};

/// Makes the keyspace follow the configuration.
pub(crate) fn apply(config: &Config, keyspace: &mut Keyspace) {
    keyspace.limits = Limits {
        hash_entries: config.hash_max_listpack_entries,
        hash_value: config.hash_max_listpack_value,
        set_ints: config.set_max_intset_entries,
        set_entries: config.set_max_listpack_entries,
        set_value: config.set_max_listpack_value,
        zset_entries: config.zset_max_listpack_entries,
        zset_value: config.zset_max_listpack_value,
        list_size: config.list_max_listpack_size,
        list_compress: config.list_compress_depth,
        hll_sparse: config.hll_sparse_max_bytes,
    };
    let aging = match eviction(config) {
        Some((_, Order::Lfu)) => {
            Aging::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time }
        }
        _ => Aging::Lru,
    };
    if keyspace.aging != aging {
        keyspace.aging = aging;
        keyspace.evictor.clear();
    }
}

/// Returns whether the policy needs to know when or how often each key was used.
pub(crate) fn ages(config: &Config) -> bool {
    matches!(eviction(config), Some((_, Order::Lru | Order::Lfu)))
}

/// Returns which keys are evicted and in which order; `None` for `noeviction`.
pub(crate) fn eviction(config: &Config) -> Option<(Scope, Order)> {
    Some(match config.maxmemory_policy {
        EvictionPolicy::NoEviction => return None,
        EvictionPolicy::AllkeysLru => (Scope::All, Order::Lru),
        EvictionPolicy::AllkeysLfu => (Scope::All, Order::Lfu),
        EvictionPolicy::AllkeysRandom => (Scope::All, Order::Random),
        EvictionPolicy::VolatileLru => (Scope::Volatile, Order::Lru),
        EvictionPolicy::VolatileLfu => (Scope::Volatile, Order::Lfu),
        EvictionPolicy::VolatileRandom => (Scope::Volatile, Order::Random),
        EvictionPolicy::VolatileTtl => (Scope::Volatile, Order::Ttl),
    })
}
