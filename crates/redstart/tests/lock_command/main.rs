//! `redstart lock` from outside, on a Redstart server (with LOCK commands) and on redis-server (with scripts).

mod cut;
mod example;
mod failures;
#[path = "../harness/mod.rs"]
mod harness;
mod run;
mod site;
mod views;

/// Runs each test on both servers.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_redstart {
            $(#[test] fn $name() { super::$name(&crate::site::Site::start(crate::harness::Kind::Ours)); })*
        }
        mod on_redis {
            $(#[test] fn $name() {
                if crate::harness::redis_is_here() {
                    super::$name(&crate::site::Site::start(crate::harness::Kind::Theirs));
                }
            })*
        }
    };
}
pub(crate) use on_both;
