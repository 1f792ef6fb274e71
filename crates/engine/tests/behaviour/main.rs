//! What the engine does beside replying: evicting, freeing, propagating; and what holds over many commands.
#![forbid(unsafe_code)]

mod clients;
mod eviction;
mod freeing;
mod holding;
mod propagation;
mod replicating;
mod scanning;
mod timing;
mod world;
