//! The one binary: `redstart server`, `cli`, `lock`, `check` and `recover`, or the same under the names of Redis' programs.
#![forbid(unsafe_code)]

/// Prints a line; nobody is left to be told when that fails, and what is asked for is done nevertheless.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod check;
mod confirmed;
mod recover;
mod text;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use base::version::{REDIS_VERSION, VERSION};
use server::{Action, CommandLine};

#[global_allocator]
static ALLOCATOR: server::Jemalloc = server::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let args: Vec<Vec<u8>> = args.map(OsString::into_vec).collect();
    let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == "redis-server" || name == "valkey-server" {
        return server(&name, &args);
    }
    match name.as_str() {
        "redis-check-aof" | "valkey-check-aof" => return check::redis_check_aof(&name, &args),
        "redis-check-rdb" | "valkey-check-rdb" => return check::redis_check_rdb(&name, &args),
        "redis-cli" | "valkey-cli" => return cli::repl::main(&name, &args),
        _ => {}
    }
    match args.first().map(Vec::as_slice) {
        Some(b"server") => server("redstart server", &args[1..]),
        Some(b"cli") => cli::repl::main("redstart cli", &args[1..]),
        Some(b"check") => check::run(&args[1..]),
        Some(b"recover") => recover::run(&args[1..]),
        Some(b"lock") => {
            cli::lock::main(&args.into_iter().skip(1).map(OsString::from_vec).collect::<Vec<_>>())
        }
        Some(b"-v" | b"--version") => {
            println!("redstart {VERSION} (compatible with Redis {REDIS_VERSION})");
            ExitCode::SUCCESS
        }
        Some(b"-h" | b"--help") => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{HELP}");
            ExitCode::FAILURE
        }
    }
}

/// Acts as redis-server does with these arguments.
fn server(name: &str, args: &[Vec<u8>]) -> ExitCode {
    let line = CommandLine::parse(args);
    match &line.action {
        Action::Run if line.sentinel => {
            eprintln!("Sentinel mode is not in this version.");
            ExitCode::FAILURE
        }
        Action::Run => ExitCode::from(server::serve(&line) as u8),
        Action::Version => {
            println!(
                "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=redstart-{VERSION}"
            );
            ExitCode::SUCCESS
        }
        Action::Help => {
            eprint!("{}", usage(name));
            ExitCode::FAILURE
        }
        Action::TestMemory(_) => {
            eprintln!("The memory test is not in this version; memtest86+ tests more thoroughly.");
            ExitCode::FAILURE
        }
        Action::CheckSystem => {
            eprintln!("The system check is not in this version.");
            ExitCode::FAILURE
        }
    }
}

fn usage(name: &str) -> String {
    format!(
        "Usage: {name} [/path/to/redis.conf] [options] [-]
       {name} - (read config from stdin)
       {name} -v or --version
       {name} -h or --help

Examples:
       {name} (run the server with default conf)
       echo 'maxmemory 128mb' | {name} -
       {name} /etc/redis/6379.conf
       {name} --port 7777
       {name} /etc/myredis.conf --loglevel verbose -
       {name} /etc/myredis.conf --loglevel verbose
"
    )
}

const HELP: &str = "\
redstart - an in-memory store that speaks the Redis protocol

Usage: redstart server [FILE] [--NAME VALUE ...]   serve; arguments as redis-server takes them
       redstart server --help                      more about these arguments
       redstart cli [OPTION ...] [COMMAND ...]     ask a server; arguments as redis-cli takes them
       redstart cli --help                         more about these arguments
       redstart check aof PATH [--fix]             what is in a log, and where it breaks
       redstart check rdb FILE                     what is in a snapshot, and where it breaks
       redstart check --help                       more about checks
       redstart recover --from REPLICA --to MASTER give a master that lost its data what its replica holds
       redstart recover --help                     more about that
       redstart lock run KEY [...] -- COMMAND ...   run a command while it holds a lock, on this server or on Redis
       redstart lock ls | show | top | failures ... who holds what, who waits, what failed and who was told
       redstart lock --help                        more about locks
       redstart --version
       redstart --help

Under the names redis-server, redis-cli, redis-check-aof and redis-check-rdb (links will do) it takes the place of these programs.
";
