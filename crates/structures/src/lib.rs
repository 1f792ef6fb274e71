//! Data structures that know nothing of Redis; the home of `unsafe`.
