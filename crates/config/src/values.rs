//! The values that hot code reads: one typed field for each parameter that works.

use crate::choice::{
    AppendFsync, DisklessLoad, EvictionPolicy, LogLevel, OomScoreAdj, ProtectedAction, SanitizePayload,
    ShutdownFlags, Supervised, SynchronousCommit, SyslogFacility,
};
use crate::limits::{ClientMemory, OutputLimits};
use crate::notify::NotifyFlags;

/// The parameters that work, by the names of redis.conf; what they mean is said there, bounds and defaults in `PARAMS`.
///
/// Texts are bytes because paths and passwords are. Only a row's own setter writes here, so a field always lies within
/// the bounds of its row.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the documentation of a parameter is redis.conf")]
pub struct Values {
    // Network
    /// Addresses to listen on; a leading `-` allows one to be unavailable, `*` and `::*` mean all.
    pub bind: Vec<String>,
    pub port: u16,
    pub unixsocket: Vec<u8>,
    /// Permission bits; 0 leaves the socket as the system made it.
    pub unixsocketperm: u32,
    pub tcp_backlog: u32,
    /// Seconds; 0 switches it off.
    pub tcp_keepalive: u32,
    /// Seconds; 0 means clients may idle for ever.
    pub timeout: u32,
    pub maxclients: u32,
    pub protected_mode: bool,
    pub socket_mark_id: u32,

    // Security
    pub requirepass: Vec<u8>,
    pub enable_protected_configs: ProtectedAction,
    pub enable_debug_command: ProtectedAction,

    // Clients
    pub client_query_buffer_limit: u64,
    pub client_output_buffer_limit: OutputLimits,
    pub proto_max_bulk_len: u64,
    pub maxmemory_clients: ClientMemory,

    // The process
    /// The working directory, absolute once the server has looked.
    pub dir: Vec<u8>,
    pub daemonize: bool,
    pub supervised: Supervised,
    pub pidfile: Vec<u8>,
    pub loglevel: LogLevel,
    pub logfile: Vec<u8>,
    pub syslog_enabled: bool,
    pub syslog_ident: Vec<u8>,
    pub syslog_facility: SyslogFacility,
    pub crash_log_enabled: bool,
    pub always_show_logo: bool,
    pub set_proc_title: bool,
    pub proc_title_template: Vec<u8>,
    pub ignore_warnings: Vec<u8>,
    pub disable_thp: bool,
    pub jemalloc_bg_thread: bool,
    pub oom_score_adj: OomScoreAdj,
    /// Scores as master, as replica, and of child processes.
    pub oom_score_adj_values: [i32; 3],
    pub io_threads_do_reads: bool,
    /// For how many seconds a stop waits for replicas.
    pub shutdown_timeout: u32,
    pub shutdown_on_sigint: ShutdownFlags,
    pub shutdown_on_sigterm: ShutdownFlags,

    // The keyspace
    pub databases: usize,
    /// Periodic work a second, 1 to 500.
    pub hz: u32,
    pub dynamic_hz: bool,
    /// Microseconds for which requests of many busy clients are gathered; 0 for not at all.
    pub gather_requests_us: u32,
    pub activerehashing: bool,
    pub active_expire_effort: u32,
    /// Bytes; 0 means no limit.
    pub maxmemory: u64,
    pub maxmemory_policy: EvictionPolicy,
    pub maxmemory_samples: u32,
    pub maxmemory_eviction_tenacity: u32,
    pub lfu_log_factor: u32,
    pub lfu_decay_time: u32,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,
    pub notify_keyspace_events: NotifyFlags,

    // Encodings
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    pub list_max_listpack_size: i32,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    pub hll_sparse_max_bytes: usize,

    // Persistence
    /// Seconds and changes: a snapshot is due when so many changes are that old.
    pub save: Vec<(i64, i64)>,
    pub dbfilename: Vec<u8>,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    /// The version of the RDB files that are written; 0 means the lowest that holds the data.
    pub rdb_version: u32,
    /// Files that were written or received for replication alone are deleted, where nothing else is kept on the disk.
    pub rdb_del_sync_files: bool,
    pub rdb_save_incremental_fsync: bool,
    /// Microseconds to wait after each key that is saved; negative: that many keys for each microsecond.
    pub rdb_key_save_delay: i64,
    pub key_load_delay: i64,
    pub loading_process_events_interval_bytes: u64,
    pub sanitize_dump_payload: SanitizePayload,
    pub stop_writes_on_bgsave_error: bool,
    pub appendonly: bool,
    pub appendfilename: Vec<u8>,
    pub appenddirname: Vec<u8>,
    pub appendfsync: AppendFsync,
    pub no_appendfsync_on_rewrite: bool,
    pub auto_aof_rewrite_percentage: u64,
    pub auto_aof_rewrite_min_size: u64,
    pub aof_load_truncated: bool,
    pub aof_use_rdb_preamble: bool,
    pub aof_timestamp_enabled: bool,
    pub aof_rewrite_incremental_fsync: bool,
    pub aof_disable_auto_gc: bool,
    /// Bytes that the log's files may take together; 0 means no limit.
    pub aof_disk_budget: u64,
    /// Bytes of filler ahead of the data under `appendfsync always`; 0 means none.
    pub aof_prepared_space: u64,

    // Replication
    /// The master that is followed, as REPLICAOF changes it.
    pub replicaof: Option<(Vec<u8>, u16)>,
    pub masterauth: Vec<u8>,
    pub masteruser: Vec<u8>,
    pub replica_serve_stale_data: bool,
    pub replica_read_only: bool,
    pub replica_lazy_flush: bool,
    pub replica_ignore_maxmemory: bool,
    pub replica_ignore_disk_write_errors: bool,
    pub replica_priority: u32,
    pub replica_announced: bool,
    pub replica_announce_ip: Vec<u8>,
    /// 0 stands for the port that is listened on.
    pub replica_announce_port: u16,
    /// A master without data may replace what this replica holds.
    pub replica_accept_empty_master: bool,
    pub min_replicas_to_write: u32,
    /// Seconds.
    pub min_replicas_max_lag: u32,
    pub repl_diskless_sync: bool,
    /// Seconds.
    pub repl_diskless_sync_delay: u32,
    pub repl_diskless_sync_max_replicas: u32,
    pub repl_diskless_load: DisklessLoad,
    /// Seconds.
    pub repl_ping_replica_period: u32,
    /// Seconds.
    pub repl_timeout: u32,
    pub repl_disable_tcp_nodelay: bool,
    pub repl_backlog_size: u64,
    /// Seconds; 0 keeps it for ever.
    pub repl_backlog_ttl: u64,
    /// A write is answered when so many replicas have it; 0 does not wait.
    pub synchronous_replicas: u32,
    pub synchronous_commit: SynchronousCommit,
    /// Milliseconds after which an answer that waits says that the outcome is unknown.
    pub synchronous_timeout: u32,
    /// Milliseconds of silence after which a replica is not counted on; with too few, writes are refused.
    pub synchronous_lease: u32,

    // Observation
    /// Microseconds; 0 logs every command, a negative number none.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: u64,
    /// Milliseconds; 0 switches it off.
    pub latency_monitor_threshold: u64,
    pub latency_tracking: bool,
    pub latency_tracking_info_percentiles: Vec<f64>,
}
