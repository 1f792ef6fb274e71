//! The table: every parameter that redis.conf of Redis 7.0 names and CONFIG GET lists, and those that 7.2 added.
//!
//! A row says what a parameter is called, what its text looks like, what it is by default, when it may change, and
//! where its value lives: in a field of [`Values`], or nowhere, because this version does one thing only.

use crate::choice::{
    AppendFsync, DisklessLoad, EvictionPolicy, LogLevel, OomScoreAdj, ProtectedAction, SanitizePayload,
    ShutdownFlags, Supervised, SynchronousCommit, SyslogFacility,
};
use crate::kind::Kind::{self, *};
use crate::kind::Reason;
use crate::title;
use crate::value::{Setting, Value};
use crate::values::Values;

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// The name under which CONFIG REWRITE writes it.
    pub name: &'static str,
    /// An older name for the same.
    pub alias: Option<&'static str>,
    /// What its text looks like.
    pub kind: Kind,
    /// Its value unless configured, as CONFIG GET prints it.
    pub default: &'static str,
    /// Whether the server can do what it asks for.
    pub support: Support,
    /// Whether CONFIG SET may change it.
    pub mutable: bool,
    /// Whether CONFIG SET needs the permission of enable-protected-configs.
    pub protected: bool,
    /// Whether its value must not show up in logs.
    pub sensitive: bool,
    /// Whether patterns given to CONFIG GET pass it over.
    pub hidden: bool,
    /// Whether CONFIG SET must wait until the data set is loaded.
    pub deny_loading: bool,
    check: Option<fn(&Value) -> Result<(), &'static str>>,
}

/// Whether a parameter works.
#[derive(Clone, Copy, Debug)]
pub enum Support {
    /// Any value that the kind allows is put into force.
    Working(Place),
    /// Any value but the default is refused, for this reason.
    Refused(&'static str),
}

/// Where the value of a working parameter lives.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    read: fn(&Values) -> Value,
    write: fn(&mut Values, Value),
}

const PROPAGATION: &str =
    "what a master's stream says and cannot be done is logged, and never ends the server";
const CLUSTER: &str = "cluster mode is not in this version";
const TLS: &str = "TLS is not in this version";
const ACL: &str = "ACL users are not in this version";
const STREAMS: &str = "streams are not in this version";
const TRACKING: &str = "client-side tracking is not in this version";
const COMPRESSION: &str = "list nodes are not compressed in this version";
const MODULES: &str = "modules are not in this version";
const SCRIPTS: &str = "scripting is not in this version";
const DEFRAGMENTATION: &str = "active defragmentation is not in this version";
const PINNING: &str = "pinning to CPUs is not in this version";
const OUTGOING: &str = "connections to other servers are not in this version";
const IO_THREADS: &str = "more than one I/O thread is not in this version";
const DEBUGGING: &str = "this debugging aid is not in this version";
const LOCALES: &str = "sorting by a locale is not in this version";

/// Every parameter, each once.
pub static PARAMS: &[Param] = &[
    // Network
    param("bind", Addresses, "* -::*").works(field!(bind)),
    param("port", int(0, 65535), "6379").works(field!(port)),
    param("unixsocket", OptionalText, "").works(field!(unixsocket)).immutable(),
    param("unixsocketperm", Permissions, "0").works(field!(unixsocketperm)).immutable(),
    param("tcp-backlog", int(0, INT_MAX), "511").works(field!(tcp_backlog)).immutable(),
    param("tcp-keepalive", int(0, INT_MAX), "300").works(field!(tcp_keepalive)),
    param("timeout", int(0, INT_MAX), "0").works(field!(timeout)),
    param("maxclients", int(1, UINT_MAX), "10000").works(field!(maxclients)),
    param("protected-mode", Bool, "yes").works(field!(protected_mode)),
    param("socket-mark-id", int(0, UINT_MAX), "0").works(field!(socket_mark_id)).immutable(),
    param("bind-source-addr", OptionalText, "").refused(OUTGOING),
    // Security
    param("requirepass", Secret, "").works(field!(requirepass)).sensitive(),
    param("enable-protected-configs", Choice(ProtectedAction::WORDS), "no")
        .works(field!(enable_protected_configs))
        .immutable(),
    param("enable-debug-command", Choice(ProtectedAction::WORDS), "no")
        .works(field!(enable_debug_command))
        .immutable(),
    param("enable-module-command", Choice(ProtectedAction::WORDS), "no").refused(MODULES).immutable(),
    param("aclfile", Text, "").refused(ACL).immutable(),
    param("acl-pubsub-default", Choice(&["allchannels", "resetchannels"]), "resetchannels").refused(ACL),
    param("acllog-max-len", int(0, i64::MAX), "128").refused(ACL),
    // Clients
    param("client-query-buffer-limit", memory(1 << 20, LONG_MAX), "1073741824")
        .works(field!(client_query_buffer_limit)),
    param(
        "client-output-buffer-limit",
        OutputLimits,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    )
    .works(field!(client_output_buffer_limit)),
    param("proto-max-bulk-len", memory(1 << 20, LONG_MAX), "536870912").works(field!(proto_max_bulk_len)),
    param("maxmemory-clients", ClientMemory, "0").works(field!(maxmemory_clients)),
    param("tracking-table-max-keys", int(0, i64::MAX), "1000000").refused(TRACKING),
    param("client-default-resp", int(2, 3), "2").refused(DEBUGGING).immutable().hidden(),
    // The process
    param("dir", Directory, "").works(field!(dir)).protected().deny_loading(),
    param("daemonize", Bool, "no").works(field!(daemonize)).immutable(),
    param("supervised", Choice(Supervised::WORDS), "no").works(field!(supervised)).immutable(),
    param("pidfile", OptionalText, "").works(field!(pidfile)).immutable(),
    param("loglevel", Choice(LogLevel::WORDS), "notice").works(field!(loglevel)),
    param("logfile", Text, "").works(field!(logfile)).immutable(),
    param("syslog-enabled", Bool, "no").works(field!(syslog_enabled)).immutable(),
    param("syslog-ident", Text, "redis").works(field!(syslog_ident)).immutable(),
    param("syslog-facility", Choice(SyslogFacility::WORDS), "local0")
        .works(field!(syslog_facility))
        .immutable(),
    param("crash-log-enabled", Bool, "yes").works(field!(crash_log_enabled)),
    param("crash-memcheck-enabled", Bool, "no").refused(DEBUGGING),
    param("use-exit-on-panic", Bool, "no").refused(DEBUGGING).hidden(),
    param("watchdog-period", int(0, INT_MAX), "0").refused(DEBUGGING).hidden(),
    param("always-show-logo", Bool, "no").works(field!(always_show_logo)).immutable(),
    param("set-proc-title", Bool, "yes").works(field!(set_proc_title)).immutable(),
    param("proc-title-template", Text, "{title} {listen-addr} {server-mode}")
        .works(field!(proc_title_template))
        .check(is_title_template),
    param("ignore-warnings", Text, "").works(field!(ignore_warnings)),
    param("disable-thp", Bool, "yes").works(field!(disable_thp)).immutable(),
    param("jemalloc-bg-thread", Bool, "yes").works(field!(jemalloc_bg_thread)),
    param("oom-score-adj", Choice(OomScoreAdj::WORDS), "no").works(field!(oom_score_adj)),
    param("oom-score-adj-values", Scores, "0 200 800").works(field!(oom_score_adj_values)),
    param("io-threads", int(1, 128), "1").refused(IO_THREADS).immutable(),
    param("io-threads-do-reads", Bool, "no").works(field!(io_threads_do_reads)).immutable(),
    param("server_cpulist", OptionalText, "").refused(PINNING).immutable(),
    param("bio_cpulist", OptionalText, "").refused(PINNING).immutable(),
    param("aof_rewrite_cpulist", OptionalText, "").refused(PINNING).immutable(),
    param("bgsave_cpulist", OptionalText, "").refused(PINNING).immutable(),
    param("shutdown-timeout", int(0, INT_MAX), "10").works(field!(shutdown_timeout)),
    param("shutdown-on-sigint", Flags(ShutdownFlags::WORDS), "default")
        .works(field!(shutdown_on_sigint))
        .check(is_shutdown),
    param("shutdown-on-sigterm", Flags(ShutdownFlags::WORDS), "default")
        .works(field!(shutdown_on_sigterm))
        .check(is_shutdown),
    param("locale-collate", Text, "").refused(LOCALES),
    // The keyspace
    param("databases", int(1, INT_MAX), "16").works(field!(databases)).immutable(),
    param("hz", int(0, INT_MAX), "10").works(Place {
        read: |values| values.hz.to_value(),
        // Too much or too little is a hint, and is brought into bounds rather than refused.
        write: |values, value| {
            values.hz.assign(value);
            values.hz = values.hz.clamp(1, 500);
        },
    }),
    param("dynamic-hz", Bool, "yes").works(field!(dynamic_hz)),
    param("gather-requests-us", int(0, 1000), "50").works(field!(gather_requests_us)),
    param("activerehashing", Bool, "yes").works(field!(activerehashing)),
    param("active-expire-effort", int(1, 10), "1").works(field!(active_expire_effort)),
    param("maxmemory", memory(0, u64::MAX), "0").works(field!(maxmemory)),
    param("maxmemory-policy", Choice(EvictionPolicy::WORDS), "noeviction").works(field!(maxmemory_policy)),
    param("maxmemory-samples", int(1, INT_MAX), "5").works(field!(maxmemory_samples)),
    param("maxmemory-eviction-tenacity", int(0, 100), "10").works(field!(maxmemory_eviction_tenacity)),
    param("lfu-log-factor", int(0, INT_MAX), "10").works(field!(lfu_log_factor)),
    param("lfu-decay-time", int(0, INT_MAX), "1").works(field!(lfu_decay_time)),
    param("lazyfree-lazy-eviction", Bool, "no").works(field!(lazyfree_lazy_eviction)),
    param("lazyfree-lazy-expire", Bool, "no").works(field!(lazyfree_lazy_expire)),
    param("lazyfree-lazy-server-del", Bool, "no").works(field!(lazyfree_lazy_server_del)),
    param("lazyfree-lazy-user-del", Bool, "no").works(field!(lazyfree_lazy_user_del)),
    param("lazyfree-lazy-user-flush", Bool, "no").works(field!(lazyfree_lazy_user_flush)),
    param("notify-keyspace-events", Notify, "").works(field!(notify_keyspace_events)),
    param("activedefrag", Bool, "no").refused(DEFRAGMENTATION).check(is_defragmentation),
    param("active-defrag-cycle-min", int(1, 99), "1").refused(DEFRAGMENTATION),
    param("active-defrag-cycle-max", int(1, 99), "25").refused(DEFRAGMENTATION),
    param("active-defrag-threshold-lower", int(0, 1000), "10").refused(DEFRAGMENTATION),
    param("active-defrag-threshold-upper", int(0, 1000), "100").refused(DEFRAGMENTATION),
    param("active-defrag-max-scan-fields", int(1, i64::MAX), "1000").refused(DEFRAGMENTATION),
    param("active-defrag-ignore-bytes", memory(1, LONG_MAX), "104857600").refused(DEFRAGMENTATION),
    // Encodings
    param("hash-max-listpack-entries", int(0, i64::MAX), "512")
        .alias("hash-max-ziplist-entries")
        .works(field!(hash_max_listpack_entries)),
    param("hash-max-listpack-value", memory(0, LONG_MAX), "64")
        .alias("hash-max-ziplist-value")
        .works(field!(hash_max_listpack_value)),
    param("list-max-listpack-size", int(INT_MIN, INT_MAX), "-2")
        .alias("list-max-ziplist-size")
        .works(field!(list_max_listpack_size)),
    param("list-compress-depth", int(0, INT_MAX), "0").refused(COMPRESSION),
    param("set-max-intset-entries", int(0, i64::MAX), "512").works(field!(set_max_intset_entries)),
    param("set-max-listpack-entries", int(0, i64::MAX), "128").works(field!(set_max_listpack_entries)),
    param("set-max-listpack-value", int(0, i64::MAX), "64").works(field!(set_max_listpack_value)),
    param("zset-max-listpack-entries", int(0, i64::MAX), "128")
        .alias("zset-max-ziplist-entries")
        .works(field!(zset_max_listpack_entries)),
    param("zset-max-listpack-value", memory(0, LONG_MAX), "64")
        .alias("zset-max-ziplist-value")
        .works(field!(zset_max_listpack_value)),
    param("hll-sparse-max-bytes", memory(0, LONG_MAX), "3000").works(field!(hll_sparse_max_bytes)),
    param("stream-node-max-bytes", memory(0, LONG_MAX), "4096").refused(STREAMS),
    param("stream-node-max-entries", int(0, i64::MAX), "100").refused(STREAMS),
    // Observation
    param("slowlog-log-slower-than", int(-1, i64::MAX), "10000").works(field!(slowlog_log_slower_than)),
    param("slowlog-max-len", int(0, i64::MAX), "128").works(field!(slowlog_max_len)),
    param("latency-monitor-threshold", int(0, i64::MAX), "0").works(field!(latency_monitor_threshold)),
    param("latency-tracking", Bool, "yes").works(field!(latency_tracking)),
    param("latency-tracking-info-percentiles", Percentiles, "50 99 99.9")
        .works(field!(latency_tracking_info_percentiles)),
    // Scripting
    param("busy-reply-threshold", int(0, i64::MAX), "5000").alias("lua-time-limit").refused(SCRIPTS),
    // Persistence
    param("save", SavePoints, "3600 1 300 100 60 10000").works(field!(save)),
    param("dbfilename", Text, "dump.rdb").works(field!(dbfilename)).protected().check(is_db_filename),
    param("rdbcompression", Bool, "yes").works(field!(rdbcompression)),
    param("rdbchecksum", Bool, "yes").works(field!(rdbchecksum)).immutable(),
    param("rdb-version", int(0, 12), "0").works(field!(rdb_version)).check(is_rdb_version),
    param("rdb-del-sync-files", Bool, "no").works(field!(rdb_del_sync_files)),
    param("rdb-save-incremental-fsync", Bool, "yes").works(field!(rdb_save_incremental_fsync)),
    param("rdb-key-save-delay", int(INT_MIN, INT_MAX), "0").works(field!(rdb_key_save_delay)).hidden(),
    param("key-load-delay", int(INT_MIN, INT_MAX), "0").works(field!(key_load_delay)).hidden(),
    param("loading-process-events-interval-bytes", int(1024, INT_MAX), "2097152")
        .works(field!(loading_process_events_interval_bytes))
        .hidden(),
    param("sanitize-dump-payload", Choice(SanitizePayload::WORDS), "no").works(field!(sanitize_dump_payload)),
    param("stop-writes-on-bgsave-error", Bool, "yes").works(field!(stop_writes_on_bgsave_error)),
    param("appendonly", Bool, "no").works(field!(appendonly)).deny_loading(),
    param("appendfilename", Text, "appendonly.aof")
        .works(field!(appendfilename))
        .immutable()
        .check(is_aof_filename),
    param("appenddirname", Text, "appendonlydir")
        .works(field!(appenddirname))
        .immutable()
        .check(is_aof_dirname),
    param("appendfsync", Choice(AppendFsync::WORDS), "everysec").works(field!(appendfsync)),
    param("no-appendfsync-on-rewrite", Bool, "no").works(field!(no_appendfsync_on_rewrite)),
    param("auto-aof-rewrite-percentage", int(0, INT_MAX), "100").works(field!(auto_aof_rewrite_percentage)),
    param("auto-aof-rewrite-min-size", memory(0, LONG_MAX), "67108864")
        .works(field!(auto_aof_rewrite_min_size)),
    param("aof-load-truncated", Bool, "yes").works(field!(aof_load_truncated)),
    param("aof-use-rdb-preamble", Bool, "yes").works(field!(aof_use_rdb_preamble)),
    param("aof-timestamp-enabled", Bool, "no").works(field!(aof_timestamp_enabled)),
    param("aof-rewrite-incremental-fsync", Bool, "yes").works(field!(aof_rewrite_incremental_fsync)),
    param("aof-disable-auto-gc", Bool, "no").works(field!(aof_disable_auto_gc)),
    param("aof-disk-budget", memory(0, LONG_MAX), "0").works(field!(aof_disk_budget)),
    param("aof-prepared-space", memory(0, 1 << 30), "1048576").works(field!(aof_prepared_space)),
    // Replication
    param("replicaof", Replicaof, "").alias("slaveof").works(field!(replicaof)).immutable(),
    param("masterauth", Secret, "").works(field!(masterauth)).sensitive(),
    param("masteruser", OptionalText, "").works(field!(masteruser)).sensitive(),
    param("replica-serve-stale-data", Bool, "yes")
        .alias("slave-serve-stale-data")
        .works(field!(replica_serve_stale_data)),
    param("replica-read-only", Bool, "yes").alias("slave-read-only").works(field!(replica_read_only)),
    param("replica-lazy-flush", Bool, "no").alias("slave-lazy-flush").works(field!(replica_lazy_flush)),
    param("replica-ignore-maxmemory", Bool, "yes")
        .alias("slave-ignore-maxmemory")
        .works(field!(replica_ignore_maxmemory)),
    param("replica-ignore-disk-write-errors", Bool, "no").works(field!(replica_ignore_disk_write_errors)),
    param("replica-priority", int(0, INT_MAX), "100").alias("slave-priority").works(field!(replica_priority)),
    param("replica-announced", Bool, "yes").works(field!(replica_announced)),
    param("replica-announce-ip", OptionalText, "")
        .alias("slave-announce-ip")
        .works(field!(replica_announce_ip)),
    param("replica-announce-port", int(0, 65535), "0")
        .alias("slave-announce-port")
        .works(field!(replica_announce_port)),
    param("replica-accept-empty-master", Bool, "no").works(field!(replica_accept_empty_master)),
    param("min-replicas-to-write", int(0, INT_MAX), "0")
        .alias("min-slaves-to-write")
        .works(field!(min_replicas_to_write)),
    param("min-replicas-max-lag", int(0, INT_MAX), "10")
        .alias("min-slaves-max-lag")
        .works(field!(min_replicas_max_lag)),
    param("repl-diskless-sync", Bool, "yes").works(field!(repl_diskless_sync)),
    param("repl-diskless-sync-delay", int(0, INT_MAX), "5").works(field!(repl_diskless_sync_delay)),
    param("repl-diskless-sync-max-replicas", int(0, INT_MAX), "0")
        .works(field!(repl_diskless_sync_max_replicas)),
    param("repl-diskless-load", Choice(DisklessLoad::WORDS), "disabled")
        .works(field!(repl_diskless_load))
        .deny_loading(),
    param("repl-ping-replica-period", int(1, INT_MAX), "10")
        .alias("repl-ping-slave-period")
        .works(field!(repl_ping_replica_period)),
    param("repl-timeout", int(1, INT_MAX), "60").works(field!(repl_timeout)),
    param("repl-disable-tcp-nodelay", Bool, "no").works(field!(repl_disable_tcp_nodelay)),
    param("repl-backlog-size", memory(1, LONG_MAX), "1048576").works(field!(repl_backlog_size)),
    param("repl-backlog-ttl", int(0, i64::MAX), "3600").works(field!(repl_backlog_ttl)),
    param("synchronous-replicas", int(0, INT_MAX), "0").works(field!(synchronous_replicas)),
    param("synchronous-commit", Choice(SynchronousCommit::WORDS), "received")
        .works(field!(synchronous_commit)),
    param("synchronous-timeout", int(1, INT_MAX), "10000").works(field!(synchronous_timeout)),
    param("synchronous-lease", int(1, INT_MAX), "3000").works(field!(synchronous_lease)),
    param("propagation-error-behavior", Choice(&["ignore", "panic", "panic-on-replicas"]), "ignore")
        .refused(PROPAGATION),
    // Cluster
    param("cluster-enabled", Bool, "no").refused(CLUSTER).immutable(),
    param("cluster-config-file", Text, "nodes.conf").refused(CLUSTER).immutable(),
    param("cluster-node-timeout", int(0, i64::MAX), "15000").refused(CLUSTER),
    param("cluster-ping-interval", int(0, i64::MAX), "0").refused(CLUSTER).hidden(),
    param("cluster-port", int(0, 65535), "0").refused(CLUSTER).immutable(),
    param("cluster-replica-validity-factor", int(0, INT_MAX), "10")
        .alias("cluster-slave-validity-factor")
        .refused(CLUSTER),
    param("cluster-migration-barrier", int(0, INT_MAX), "1").refused(CLUSTER),
    param("cluster-allow-replica-migration", Bool, "yes").refused(CLUSTER),
    param("cluster-require-full-coverage", Bool, "yes").refused(CLUSTER),
    param("cluster-replica-no-failover", Bool, "no").alias("cluster-slave-no-failover").refused(CLUSTER),
    param("cluster-allow-reads-when-down", Bool, "no").refused(CLUSTER),
    param("cluster-allow-pubsubshard-when-down", Bool, "yes").refused(CLUSTER),
    param("cluster-link-sendbuf-limit", memory(0, u64::MAX), "0").refused(CLUSTER),
    param("cluster-announce-ip", OptionalText, "").refused(CLUSTER),
    param("cluster-announce-port", int(0, 65535), "0").refused(CLUSTER),
    param("cluster-announce-tls-port", int(0, 65535), "0").refused(CLUSTER),
    param("cluster-announce-bus-port", int(0, 65535), "0").refused(CLUSTER),
    param("cluster-announce-hostname", OptionalText, "").refused(CLUSTER).check(is_hostname),
    param("cluster-announce-human-nodename", OptionalText, "").refused(CLUSTER),
    param("cluster-preferred-endpoint-type", Choice(&["ip", "hostname", "unknown-endpoint"]), "ip")
        .refused(CLUSTER),
    // TLS
    param("tls-port", int(0, 65535), "0").refused(TLS),
    param("tls-replication", Bool, "no").refused(TLS),
    param("tls-cluster", Bool, "no").refused(TLS),
    param("tls-cert-file", OptionalText, "").refused(TLS),
    param("tls-key-file", OptionalText, "").refused(TLS),
    param("tls-key-file-pass", OptionalText, "").refused(TLS),
    param("tls-client-cert-file", OptionalText, "").refused(TLS),
    param("tls-client-key-file", OptionalText, "").refused(TLS),
    param("tls-client-key-file-pass", OptionalText, "").refused(TLS),
    param("tls-dh-params-file", OptionalText, "").refused(TLS),
    param("tls-ca-cert-file", OptionalText, "").refused(TLS),
    param("tls-ca-cert-dir", OptionalText, "").refused(TLS),
    param("tls-auth-clients", Choice(&["no", "yes", "optional"]), "yes").refused(TLS),
    param("tls-protocols", OptionalText, "").refused(TLS),
    param("tls-ciphers", OptionalText, "").refused(TLS),
    param("tls-ciphersuites", OptionalText, "").refused(TLS),
    param("tls-prefer-server-ciphers", Bool, "no").refused(TLS),
    param("tls-session-caching", Bool, "yes").refused(TLS),
    param("tls-session-cache-size", int(0, INT_MAX), "20480").refused(TLS),
    param("tls-session-cache-timeout", int(0, INT_MAX), "300").refused(TLS),
];

/// Returns the parameter of that name or alias, in any case.
pub fn find(name: &[u8]) -> Option<&'static Param> {
    lookup(name).map(|(param, _)| param)
}

/// Returns the parameter and which of its names was asked for.
pub(crate) fn lookup(name: &[u8]) -> Option<(&'static Param, &'static str)> {
    PARAMS.iter().find_map(|param| {
        let matching = param.names().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
        matching.map(|known| (param, known))
    })
}

impl Param {
    /// Returns the name and the alias, if there is one.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.name), self.alias].into_iter().flatten()
    }

    /// Returns the default as a value.
    pub(crate) fn default_value(&self) -> Value {
        let words: Vec<&[u8]> = if self.kind.is_multi() {
            split_at_spaces(self.default.as_bytes())
        } else {
            vec![self.default.as_bytes()]
        };
        match (self.kind, words.is_empty()) {
            (Replicaof, true) => Value::Replicaof(None),
            (kind, _) => kind
                .parse(&words, &Value::Bool(false))
                .unwrap_or_else(|reason| panic!("the default of {} is malformed: {reason}", self.name)),
        }
    }

    pub(crate) fn read(&self, values: &Values) -> Value {
        match self.support {
            Support::Working(place) => (place.read)(values),
            Support::Refused(_) => self.default_value(),
        }
    }

    pub(crate) fn write(&self, values: &mut Values, value: Value) {
        if let Support::Working(place) = self.support {
            (place.write)(values, value);
        }
    }

    /// Reads the words as a new value and puts it into its place, if the parameter can take it.
    pub(crate) fn assign(&self, values: &mut Values, words: &[&[u8]]) -> Result<(), Reason> {
        let value = self.kind.parse(words, &self.read(values))?;
        if let Some(check) = self.check {
            check(&value)?;
        }
        if let Support::Refused(reason) = self.support
            && value != self.default_value()
        {
            let only = match self.default {
                "" => "empty".to_owned(),
                text => format!("'{text}'"),
            };
            return Err(format!("must stay {only}: {reason}").into());
        }
        self.write(values, value);
        Ok(())
    }
}

/// Splits at every single space, as CONFIG SET does: no text is no words, two spaces have an empty word between them.
pub(crate) fn split_at_spaces(text: &[u8]) -> Vec<&[u8]> {
    if text.is_empty() { Vec::new() } else { text.split(|&byte| byte == b' ').collect() }
}

const INT_MIN: i64 = i32::MIN as i64;
const INT_MAX: i64 = i32::MAX as i64;
const UINT_MAX: i64 = u32::MAX as i64;
const LONG_MAX: u64 = i64::MAX as u64;

const fn int(min: i64, max: i64) -> Kind {
    Int { min, max }
}

const fn memory(min: u64, max: u64) -> Kind {
    Memory { min, max }
}

/// Begins a row that can be set at any time; every row goes on with `works` or `refused`.
const fn param(name: &'static str, kind: Kind, default: &'static str) -> Param {
    Param {
        name,
        alias: None,
        kind,
        default,
        support: Support::Refused(""),
        mutable: true,
        protected: false,
        sensitive: false,
        hidden: false,
        deny_loading: false,
        check: None,
    }
}

impl Param {
    const fn works(mut self, place: Place) -> Self {
        self.support = Support::Working(place);
        self
    }

    const fn refused(mut self, reason: &'static str) -> Self {
        self.support = Support::Refused(reason);
        self
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn immutable(mut self) -> Self {
        self.mutable = false;
        self
    }

    const fn protected(mut self) -> Self {
        self.protected = true;
        self
    }

    const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    const fn deny_loading(mut self) -> Self {
        self.deny_loading = true;
        self
    }

    const fn check(mut self, check: fn(&Value) -> Result<(), &'static str>) -> Self {
        self.check = Some(check);
        self
    }
}

/// Names the field of `Values` in which a row's value lives.
macro_rules! field {
    ($name:ident) => {
        Place { read: |values| values.$name.to_value(), write: |values, value| values.$name.assign(value) }
    };
}
use field;

fn text(value: &Value) -> &[u8] {
    match value {
        Value::Text(text) => text,
        _ => b"",
    }
}

fn is_title_template(value: &Value) -> Result<(), &'static str> {
    match title::is_valid(&String::from_utf8_lossy(text(value))) {
        true => Ok(()),
        false => Err("template format is invalid or contains unknown variables"),
    }
}

fn is_shutdown(value: &Value) -> Result<(), &'static str> {
    let mut flags = ShutdownFlags::default();
    flags.assign(value.clone());
    match flags {
        ShutdownFlags { save: true, no_save: true, .. } => {
            Err("shutdown options SAVE and NOSAVE can't be used simultaneously")
        }
        _ => Ok(()),
    }
}

fn is_defragmentation(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Bool(true) => {
            Err("Active defragmentation cannot be enabled: it requires a Redis server compiled \
                                  with a modified Jemalloc like the one shipped by default with the Redis source \
                                  distribution")
        }
        _ => Ok(()),
    }
}

fn is_db_filename(value: &Value) -> Result<(), &'static str> {
    is_utf8(value)?;
    if text(value).iter().any(|byte| b"/\\".contains(byte)) {
        return Err("dbfilename can't be a path, just a filename");
    }
    Ok(())
}

fn is_rdb_version(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Number(0 | 9..) => Ok(()),
        _ => Err("rdb-version must be 0 (as low as the data allows), or 9 to 12"),
    }
}

/// Files are named in UTF-8 wherever more than the system sees the names: in manifests, in reports.
fn is_utf8(value: &Value) -> Result<(), &'static str> {
    std::str::from_utf8(text(value)).map(|_| ()).map_err(|_| "must be valid UTF-8")
}

fn is_aof_filename(value: &Value) -> Result<(), &'static str> {
    is_utf8(value)?;
    match text(value) {
        b"" => Err("appendfilename can't be empty"),
        path if path.iter().any(|byte| b"/\\".contains(byte)) => {
            Err("appendfilename can't be a path, just a filename")
        }
        _ => Ok(()),
    }
}

fn is_aof_dirname(value: &Value) -> Result<(), &'static str> {
    is_utf8(value)?;
    match text(value) {
        b"" => Err("appenddirname can't be empty"),
        path if path.iter().any(|byte| b"/\\".contains(byte)) => {
            Err("appenddirname can't be a path, just a dirname")
        }
        _ => Ok(()),
    }
}

fn is_hostname(value: &Value) -> Result<(), &'static str> {
    let name = text(value);
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    match name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
        true => Ok(()),
        false => Err("Hostnames may only contain alphanumeric characters, hyphens or dots"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_lower_case_and_unique() {
        let mut seen = BTreeSet::new();
        for name in PARAMS.iter().flat_map(Param::names) {
            assert!(seen.insert(name), "{name} is there twice");
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }

    #[test]
    fn defaults_print_as_they_are_written_and_pass_their_own_check() {
        for param in PARAMS {
            let value = param.default_value();
            assert_eq!(String::from_utf8_lossy(&param.kind.print(&value)), param.default, "{}", param.name);
            assert_eq!(param.check.map_or(Ok(()), |check| check(&value)), Ok(()), "{}", param.name);
            if let Support::Refused(reason) = param.support {
                assert!(!reason.is_empty(), "{} neither works nor says why not", param.name);
            }
        }
    }

    #[test]
    fn each_row_has_a_place_of_its_own() {
        let working: Vec<_> =
            PARAMS.iter().filter(|param| matches!(param.support, Support::Working(_))).collect();
        let mut defaults = Values::default();
        for param in &working {
            param.write(&mut defaults, param.default_value());
        }
        for param in &working {
            let other = match param.default_value() {
                Value::Bool(yes) => Value::Bool(!yes),
                Value::Number(number) => Value::Number(number + 7),
                Value::Text(text) => Value::Text([text.as_slice(), b"x"].concat()),
                Value::Choice(index) => Value::Choice(if index == 0 { 1 } else { 0 }),
                Value::Flags(_) => Value::Flags(4),
                Value::Words(_) => Value::Words(Vec::new()),
                Value::OutputLimits(_) => Value::OutputLimits(Default::default()),
                Value::ClientMemory(_) => Value::ClientMemory(crate::ClientMemory::Percent(7)),
                Value::Notify(_) => Value::Notify(crate::NotifyFlags::ALL),
                Value::Percentiles(_) => Value::Percentiles(Vec::new()),
                Value::Scores(_) => Value::Scores([1, 2, 3]),
                Value::Replicaof(_) => Value::Replicaof(Some((b"host".to_vec(), 7))),
                value @ Value::SavePoints(_) => value,
            };
            let mut values = defaults.clone();
            param.write(&mut values, other.clone());
            for neighbour in &working {
                let expected =
                    if neighbour.name == param.name { other.clone() } else { neighbour.default_value() };
                assert_eq!(neighbour.read(&values), expected, "{} after {}", neighbour.name, param.name);
            }
        }
    }
}
