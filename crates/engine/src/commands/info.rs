//! INFO: figures about the server, section by section.

use std::fmt::{Display, Write};

use base::crc64::crc64;
use base::time::Now;
use base::version::{REDIS_VERSION, VERSION};
use config::{Config, Supervised};

use crate::memory::Overhead;
use crate::persistence::{Child, Snapshot};
use crate::session::Closing;
use crate::{Args, Cx, Reply, Result};

use super::info_replication;

/// One section: its name, its title, when it is shown, and what writes its fields.
struct Section {
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Cx<'_>, &mut Fields),
}

/// Which of the collective names a section belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// `INFO` without a name, `default`, `all` and `everything`.
    Default,
    /// `all` and `everything`.
    All,
}

/// All sections, in the order in which they are printed.
const SECTIONS: &[Section] = &[
    section("server", "Server", Shown::Default, server),
    section("clients", "Clients", Shown::Default, clients),
    section("memory", "Memory", Shown::Default, memory),
    section("persistence", "Persistence", Shown::Default, persistence),
    section("stats", "Stats", Shown::Default, stats),
    section("replication", "Replication", Shown::Default, info_replication::replication),
    section("cpu", "CPU", Shown::Default, cpu),
    section("modules", "Modules", Shown::Default, modules),
    section("commandstats", "Commandstats", Shown::All, commandstats),
    section("errorstats", "Errorstats", Shown::Default, errorstats),
    section("latencystats", "Latencystats", Shown::All, latencystats),
    section("cluster", "Cluster", Shown::Default, cluster),
    section("keyspace", "Keyspace", Shown::Default, keyspace),
];

const fn section(
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Cx<'_>, &mut Fields),
) -> Section {
    Section { name, title, shown, write }
}

/// The text of INFO as it grows, a `name:value` line for each field.
#[derive(Default)]
pub(super) struct Fields {
    text: String,
}

impl Fields {
    pub(super) fn field(&mut self, name: impl Display, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    /// Writes a number of bytes, and once more as people read it.
    fn bytes(&mut self, name: &str, bytes: usize) {
        self.field(name, bytes);
        self.human(name, bytes);
    }

    fn human(&mut self, name: &str, bytes: usize) {
        self.field(format_args!("{name}_human"), human(bytes));
    }

    pub(super) fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }
}

/// Returns a number of bytes with two decimals in its largest unit.
fn human(bytes: usize) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1024.0, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.2}{}", UNITS[unit])
}

/// Returns the named sections, or those shown by default.
pub(super) fn info(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let wanted: Vec<&[u8]> = args.rest().collect();
    let named = |name: &str| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name.as_bytes()));
    let all = named("all") || named("everything");
    let default = wanted.is_empty() || named("default");
    let mut fields = Fields::default();
    for section in SECTIONS {
        if !(all || (default && section.shown == Shown::Default) || named(section.name)) {
            continue;
        }
        if !fields.text.is_empty() {
            fields.text += "\r\n";
        }
        fields.text += &format!("# {}\r\n", section.title);
        (section.write)(cx, &mut fields);
    }
    out.verbatim("txt", fields.text.as_bytes());
    Ok(())
}

fn server(cx: &mut Cx<'_>, fields: &mut Fields) {
    let report = cx.host.report();
    let config = &cx.server.config;
    let uptime = cx.now.instant.saturating_since(cx.server.started.instant).as_secs();
    fields.field("redis_version", REDIS_VERSION);
    fields.field("redis_git_sha1", "00000000");
    fields.field("redis_git_dirty", 0);
    fields.field("redis_build_id", format_args!("{:016x}", crc64(0, VERSION.as_bytes())));
    fields.field("redis_mode", "standalone");
    fields.field("os", &report.os);
    fields.field("arch_bits", usize::BITS);
    fields.field("monotonic_clock", "POSIX clock_gettime");
    fields.field("multiplexing_api", "epoll");
    fields.field("atomicvar_api", "rust-core");
    fields.field("gcc_version", "0.0.0");
    fields.field("process_id", report.pid);
    fields.field(
        "process_supervised",
        if config.supervised == Supervised::No { "no" } else { config.supervised.word() },
    );
    fields.field("run_id", &cx.server.run_id);
    fields.field("tcp_port", config.port);
    fields.field("server_time_usec", cx.now.unix_us);
    fields.field("uptime_in_seconds", uptime);
    fields.field("uptime_in_days", uptime / 86_400);
    fields.field("hz", config.hz);
    fields.field("configured_hz", config.hz);
    fields.field("lru_clock", cx.now.unix_secs() & 0xff_ffff);
    fields.field("executable", &report.executable);
    fields.field("config_file", &report.config_file);
    fields.field("io_threads_active", 0);
    for (number, listener) in listeners(config).iter().enumerate() {
        fields.field(format_args!("listener{number}"), listener);
    }
    fields.field("redstart_version", VERSION);
}

/// Returns what the server listens on, each as one field's value.
fn listeners(config: &Config) -> Vec<String> {
    let mut all = Vec::new();
    if config.port != 0 {
        let addresses = config.bind.iter().map(|address| format!(",bind={address}"));
        all.push(format!("name=tcp{},port={}", addresses.collect::<String>(), config.port));
    }
    if !config.unixsocket.is_empty() {
        all.push(format!("name=unix,bind={}", String::from_utf8_lossy(&config.unixsocket)));
    }
    all
}

fn clients(cx: &mut Cx<'_>, fields: &mut Fields) {
    let sessions = &cx.server.sessions;
    let open = || sessions.iter().filter(|session| session.closing != Closing::Now && !session.replica);
    // The one that executes stands beside the table.
    fields.field("connected_clients", 1 + open().count());
    fields.field("cluster_connections", 0);
    fields.field("maxclients", cx.server.config.maxclients);
    fields.field(
        "client_recent_max_input_buffer",
        open().map(|s| s.query_len + s.query_free).max().unwrap_or(0),
    );
    fields.field("client_recent_max_output_buffer", open().map(|s| s.out.capacity()).max().unwrap_or(0));
    let postponed = open().filter(|session| session.postponed).count();
    fields.field("blocked_clients", cx.server.waiting.len() + postponed);
    fields.field("tracking_clients", 0);
    fields.field("clients_in_timeout_table", cx.server.waiting.deadlines());
    fields.field("total_blocking_keys", cx.server.waiting.keys());
    fields.field("total_blocking_keys_on_nokey", 0);
}

fn memory(cx: &mut Cx<'_>, fields: &mut Fields) {
    let overhead = Overhead::measure(cx.server, cx.session, cx.keys.space, cx.host);
    let report = &overhead.report;
    fields.bytes("used_memory", overhead.used);
    fields.bytes("used_memory_rss", report.rss);
    fields.bytes("used_memory_peak", overhead.peak);
    fields.field("used_memory_peak_perc", format_args!("{:.2}%", overhead.peak_percent()));
    fields.field("used_memory_overhead", overhead.total);
    fields.field("used_memory_startup", overhead.startup);
    fields.field("used_memory_dataset", overhead.dataset());
    fields.field("used_memory_dataset_perc", format_args!("{:.2}%", overhead.dataset_percent()));
    fields.field("allocator_allocated", report.allocated);
    fields.field("allocator_active", report.active);
    fields.field("allocator_resident", report.resident);
    fields.bytes("total_system_memory", report.system_memory);
    fields.zeros(&["used_memory_lua", "used_memory_vm_eval"]);
    fields.human("used_memory_lua", 0);
    fields.zeros(&[
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
        "used_memory_vm_functions",
        "used_memory_vm_total",
    ]);
    fields.human("used_memory_vm_total", 0);
    fields.zeros(&["used_memory_functions"]);
    fields.bytes("used_memory_scripts", 0);
    fields.bytes("maxmemory", cx.server.config.maxmemory as usize);
    fields.field("maxmemory_policy", cx.server.config.maxmemory_policy.word());
    let shares = [
        ("allocator_frag", overhead.fragmentation()),
        ("allocator_rss", overhead.kept()),
        ("rss_overhead", overhead.beyond_allocator()),
        ("mem_fragmentation", overhead.resident()),
    ];
    for (name, share) in shares {
        fields.field(format_args!("{name}_ratio"), format_args!("{:.2}", share.ratio));
        fields.field(format_args!("{name}_bytes"), share.bytes);
    }
    let owed = cx.server.replication.primary.owed_memory();
    fields.field("mem_not_counted_for_evict", cx.server.persistence.log.buffered + owed);
    fields.field("mem_replication_backlog", overhead.backlog);
    fields.field("mem_total_replication_buffers", overhead.backlog + owed as usize);
    fields.field("mem_clients_slaves", overhead.replicas);
    fields.field("mem_clients_normal", overhead.clients);
    fields.zeros(&["mem_cluster_links"]);
    fields.field("mem_aof_buffer", cx.server.persistence.log.buffered);
    fields.field("mem_allocator", "jemalloc");
    fields.zeros(&["active_defrag_running"]);
    fields.field("lazyfree_pending_objects", report.lazyfree_pending);
    fields.field("lazyfreed_objects", report.lazyfreed - cx.server.stats.forgotten.lazyfreed);
}

fn persistence(cx: &mut Cx<'_>, fields: &mut Fields) {
    let known = &cx.server.persistence;
    let seconds = |since: &Now| cx.now.instant.saturating_since(since.instant).as_secs();
    let (child, log) = (&known.child, &known.log);
    fields.field("loading", u8::from(known.loading().is_some()));
    fields.field("async_loading", u8::from(cx.server.persistence.loads_beside));
    fields.field("current_cow_peak", child.map_or(0, |child| child.copied_peak));
    fields.field("current_cow_size", child.map_or(0, |child| child.copied));
    let age = |child: Child| cx.now.instant.saturating_since(child.reported).as_secs();
    fields.field("current_cow_size_age", child.map_or(0, age));
    let done = |child: Child| child.keys_done as f64 * 100.0 / child.keys_total.max(1) as f64;
    fields.field("current_fork_perc", format_args!("{:.2}", child.map_or(0.0, done)));
    fields.field("current_save_keys_processed", child.map_or(0, |child| child.keys_done));
    fields.field("current_save_keys_total", child.map_or(0, |child| child.keys_total));
    let changes = cx.keys.space.recorder.dirty.saturating_sub(known.saved_dirty);
    fields.field("rdb_changes_since_last_save", changes);
    let saving = child.filter(|child| child.kind == Snapshot::Save);
    fields.field("rdb_bgsave_in_progress", u8::from(saving.is_some()));
    fields.field("rdb_last_save_time", known.last_save_unix);
    let status = |failed: bool| if failed { "err" } else { "ok" };
    fields.field("rdb_last_bgsave_status", status(known.has_save_failed()));
    fields.field("rdb_last_bgsave_time_sec", known.last_save_seconds);
    fields.field("rdb_current_bgsave_time_sec", saving.map_or(-1, |child| seconds(&child.started) as i64));
    fields.field("rdb_saves", known.saves);
    fields.field("rdb_last_cow_size", known.last_copied);
    fields.field("rdb_last_load_keys_expired", known.keys_expired);
    fields.field("rdb_last_load_keys_loaded", known.keys_loaded);
    fields.field("aof_enabled", u8::from(log.enabled));
    fields.field("aof_rewrite_in_progress", u8::from(known.log_rewrite_started.is_some()));
    fields.field("aof_rewrite_scheduled", u8::from(log.rewrite_scheduled));
    fields.field("aof_last_rewrite_time_sec", known.last_rewrite_seconds);
    let rewriting = known.log_rewrite_started.as_ref().map_or(-1, |since| seconds(since) as i64);
    fields.field("aof_current_rewrite_time_sec", rewriting);
    fields.field("aof_last_bgrewrite_status", status(log.last_rewrite_failed));
    fields.field("aof_rewrites", log.rewrites);
    fields.field("aof_rewrites_consecutive_failures", log.failed_rewrites);
    fields.field("aof_last_write_status", status(log.write_failed));
    fields.field("aof_last_cow_size", known.last_rewrite_copied);
    fields.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if log.enabled {
        fields.field("aof_current_size", log.current_size);
        fields.field("aof_base_size", log.base_size);
        fields.field("aof_pending_rewrite", u8::from(log.rewrite_scheduled));
        fields.field("aof_buffer_length", log.buffered);
        fields.field("aof_pending_bio_fsync", u8::from(log.pending_sync));
        fields.field("aof_delayed_fsync", log.delayed_syncs);
        fields.field("aof_unsynced_age_ms", log.unsynced_age_ms);
    }
    if let Some(loading) = known.loading() {
        let elapsed = seconds(&loading.started);
        let left = loading.total_bytes.saturating_sub(loading.loaded_bytes);
        let share = loading.loaded_bytes as f64 * 100.0 / loading.total_bytes.max(1) as f64;
        let eta = (left * elapsed).checked_div(loading.loaded_bytes).unwrap_or(1);
        fields.field("loading_start_time", loading.started.unix_secs());
        fields.field("loading_total_bytes", loading.total_bytes);
        fields.field("loading_rdb_used_mem", 0);
        fields.field("loading_loaded_bytes", loading.loaded_bytes);
        fields.field("loading_loaded_perc", format_args!("{share:.2}"));
        fields.field("loading_eta_seconds", eta);
    }
}

fn stats(cx: &mut Cx<'_>, fields: &mut Fields) {
    let report = cx.host.report();
    let stats = &cx.server.stats;
    let recorder = &cx.keys.space.recorder;
    let kilobytes = |rate: &crate::stats::Rate| format!("{:.2}", rate.per_second() / 1024.0);
    fields.field("total_connections_received", stats.connections);
    fields.field("total_commands_processed", stats.commands);
    fields.field("instantaneous_ops_per_sec", stats.ops.per_second() as u64);
    fields.field("total_net_input_bytes", stats.bytes_in);
    fields.field("total_net_output_bytes", stats.bytes_out);
    fields.field("total_net_repl_input_bytes", stats.replication_in);
    fields.field("total_net_repl_output_bytes", stats.replication_out);
    fields.field("instantaneous_input_kbps", kilobytes(&stats.rate_in));
    fields.field("instantaneous_output_kbps", kilobytes(&stats.rate_out));
    fields.field("instantaneous_input_repl_kbps", kilobytes(&stats.rate_replication_in));
    fields.field("instantaneous_output_repl_kbps", kilobytes(&stats.rate_replication_out));
    fields.field("rejected_connections", report.connections_rejected - stats.forgotten.connections_rejected);
    let syncs = cx.server.replication.primary.stats();
    let forgotten = stats.forgotten.syncs;
    fields.field("sync_full", syncs.full - forgotten.full);
    fields.field("sync_partial_ok", syncs.partial - forgotten.partial);
    fields.field("sync_partial_err", syncs.partial_refused - forgotten.partial_refused);
    fields.field("expired_keys", recorder.expired);
    fields.field("expired_stale_perc", format_args!("{:.2}", stats.expired_stale_percent));
    fields.field("expired_time_cap_reached_count", stats.expired_time_cap_reached);
    fields.field("expire_cycle_cpu_milliseconds", stats.expire_cycle_us / 1000);
    fields.field("evicted_keys", recorder.evicted);
    fields.field("evicted_clients", stats.evicted_clients);
    fields.field("total_eviction_exceeded_time", stats.eviction_exceeded_us / 1000);
    fields.field("current_eviction_exceeded_time", 0);
    fields.field("keyspace_hits", recorder.hits);
    fields.field("keyspace_misses", recorder.misses);
    fields.field("pubsub_channels", cx.server.pubsub.channels.len());
    fields.field("pubsub_patterns", cx.server.pubsub.patterns.len());
    fields.field("pubsubshard_channels", cx.server.pubsub.shards.len());
    fields.field("latest_fork_usec", cx.server.persistence.fork_us);
    fields.field("total_forks", cx.server.persistence.forks);
    fields.field("migrate_cached_sockets", 0);
    fields.field("slave_expires_tracked_keys", cx.server.replication.own_keys.len());
    fields.zeros(&[
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
        "unexpected_error_replies",
    ]);
    fields.field("total_error_replies", stats.errors);
    fields.zeros(&["dump_payload_sanitizations"]);
    fields.field("total_reads_processed", report.io_reads - stats.forgotten.reads);
    fields.field("total_writes_processed", report.io_writes - stats.forgotten.writes);
    fields.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    fields.field("client_query_buffer_limit_disconnections", stats.query_limit_disconnections);
    fields.field("client_output_buffer_limit_disconnections", stats.output_limit_disconnections);
    fields.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    fields.field("acl_access_denied_auth", stats.denied_logins);
    fields.zeros(&["acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"]);
}

fn cpu(cx: &mut Cx<'_>, fields: &mut Fields) {
    let report = cx.host.report();
    let times = [
        ("used_cpu_sys", report.cpu_sys),
        ("used_cpu_user", report.cpu_user),
        ("used_cpu_sys_children", report.cpu_sys_children),
        ("used_cpu_user_children", report.cpu_user_children),
        ("used_cpu_sys_main_thread", report.cpu_sys_main),
        ("used_cpu_user_main_thread", report.cpu_user_main),
    ];
    for (name, seconds) in times {
        fields.field(name, format_args!("{seconds:.6}"));
    }
}

/// Modules are not in this version, but clients look for the section.
fn modules(_: &mut Cx<'_>, _: &mut Fields) {}

fn commandstats(cx: &mut Cx<'_>, fields: &mut Fields) {
    for row in &cx.server.table.rows {
        let stats = &cx.server.stats.per_command[row.id];
        if stats.calls + stats.rejected + stats.failed == 0 {
            continue;
        }
        let mean = stats.microseconds as f64 / stats.calls.max(1) as f64;
        fields.field(
            format_args!("cmdstat_{}", row.name),
            format_args!(
                "calls={},usec={},usec_per_call={mean:.2},rejected_calls={},failed_calls={}",
                stats.calls, stats.microseconds, stats.rejected, stats.failed
            ),
        );
    }
}

fn errorstats(cx: &mut Cx<'_>, fields: &mut Fields) {
    for (code, count) in &cx.server.stats.errors_by_code {
        // A name ends at the colon.
        let code = code.replace([':', '\r', '\n', '#'], "_");
        fields.field(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latencystats(cx: &mut Cx<'_>, fields: &mut Fields) {
    if !cx.server.config.latency_tracking {
        return;
    }
    for row in &cx.server.table.rows {
        let Some(histogram) = &cx.server.stats.per_command[row.id].latency else { continue };
        let percentiles = cx.server.config.latency_tracking_info_percentiles.iter();
        let values: Vec<String> = percentiles
            .map(|percentile| format!("p{percentile}={}.000", histogram.percentile(*percentile)))
            .collect();
        fields.field(format_args!("latency_percentiles_usec_{}", row.name), values.join(","));
    }
}

fn cluster(_: &mut Cx<'_>, fields: &mut Fields) {
    fields.field("cluster_enabled", 0);
}

fn keyspace(cx: &mut Cx<'_>, fields: &mut Fields) {
    for (index, db) in cx.keys.space.dbs.iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        fields.field(
            format_args!("db{index}"),
            format_args!("keys={},expires={},avg_ttl={}", db.len(), db.table.marked_len(), db.avg_ttl),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_in_their_largest_unit() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1024), "1.00K");
        assert_eq!(human(5 << 30), "5.00G");
    }
}
