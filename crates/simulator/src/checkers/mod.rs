//! Judges of what a node says: a model of maps and vectors, counts, a replica, and a look at the whole keyspace.

pub mod accounting;
pub mod answer;
pub mod keyspace;
pub mod model;
pub mod replica;
pub mod transcript;
