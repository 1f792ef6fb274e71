//! Runs the executable specification: scenario files against anything that speaks the protocol.
//!
//! A scenario file ([`scenario`]) is requests and the replies written under them. The runner ([`runner`]) plays it
//! against a [`Target`]: a server behind TCP ([`tcp`]), or one in this process. The recorder ([`record`]) plays it
//! against the reference server and writes the replies into the file, so that an author writes requests only.
//!
//! For servers that replicate there are writes of every type ([`mixture`], [`writers`]) and a link that fails ([`proxy`]).
//!
//! The reply parser here shares nothing with the server's codec on purpose: a mistake made there must not be
//! repeated by its judge.
#![forbid(unsafe_code)]

pub mod mixture;
pub mod player;
pub mod process;
pub mod proxy;
pub mod random;
pub mod record;
pub mod reply;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod supervised;
pub mod target;
pub mod tcp;
pub mod words;
pub mod writers;
pub mod written;

pub use mixture::Mixture;
pub use process::ServerProcess;
pub use proxy::Proxy;
pub use random::Random;
pub use reply::Reply;
pub use report::{Difference, Report};
pub use runner::{Options, run_file};
pub use scenario::ScenarioFile;
pub use target::{Arrival, Dialect, Effect, Link, Place, Target};
pub use tcp::TcpTarget;
pub use writers::Writers;
