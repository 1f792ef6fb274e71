//! What this server calls itself, and which Redis it claims to be to clients that ask.

/// Our own version, as released.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Redis version whose behaviour clients may rely on (`redis_version` in INFO and HELLO).
pub const REDIS_VERSION: &str = "7.2.4";

/// The same version as one number, `0x00MMmmpp`, as modules and Lua scripts read it.
pub const REDIS_VERSION_NUMBER: u32 = 0x0007_0204;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_says_what_the_text_says() {
        let parts: Vec<u32> = REDIS_VERSION.split('.').map(|part| part.parse().unwrap()).collect();
        assert_eq!(REDIS_VERSION_NUMBER, parts[0] << 16 | parts[1] << 8 | parts[2]);
    }
}
