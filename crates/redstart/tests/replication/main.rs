//! Replication from outside, with redis-server at the other end, above and below.
//!
//! With `REDSTART_TEST_OURS=redis-server` the same tests run with redis-server in our place, which shows that they ask for
//! nothing that Redis does not do; what only Redstart has is left out then.

#[path = "../harness/mod.rs"]
mod harness;
mod rogues;
mod roles;
mod site;
mod streams;
mod synchronous;
