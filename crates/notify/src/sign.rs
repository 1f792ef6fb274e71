//! Signatures, as receivers of webhooks check them.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Returns HMAC-SHA256 of a message.
fn hmac_sha256(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

/// Returns the value of `X-Redstart-Signature`: `t=SECONDS,v1=HEX`, where HEX signs `SECONDS.BODY`.
///
/// The time is signed with the body, so that a receiver can refuse what is old without trusting a header.
pub fn webhook(secret: &str, seconds: u64, body: &[u8]) -> String {
    let mut message = format!("{seconds}.").into_bytes();
    message.extend_from_slice(body);
    let tag = hmac_sha256(secret.as_bytes(), &message);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Returns DingTalk's `sign`, in base64: the secret signs the time and itself.
pub fn dingtalk(secret: &str, milliseconds: u64) -> String {
    let message = format!("{milliseconds}\n{secret}");
    BASE64_STANDARD.encode(hmac_sha256(secret.as_bytes(), message.as_bytes()))
}

/// Returns Feishu's `sign`, in base64: the time and the secret sign nothing.
pub fn feishu(secret: &str, seconds: u64) -> String {
    let key = format!("{seconds}\n{secret}");
    BASE64_STANDARD.encode(hmac_sha256(key.as_bytes(), b""))
}

/// Returns a text as it stands in the query of a URL.
pub fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden vectors from Python, which shares no code with this:
    //     import hmac, hashlib, base64
    //     sign = lambda key, message: hmac.new(key, message, hashlib.sha256)
    //     sign(b"s3cret", b'1795400761.{"kind":"busy"}').hexdigest()
    //     base64.b64encode(sign(b"SECabc", b"1795400761999\nSECabc").digest())
    //     base64.b64encode(sign(b"1795400761\nfeishu-key", b"").digest())

    #[test]
    fn webhooks_are_signed_with_their_time() {
        assert_eq!(
            webhook("s3cret", 1_795_400_761, br#"{"kind":"busy"}"#),
            "t=1795400761,v1=7b363d9a9fede91277fb10948efbb63f63958da1ef04af471bba14895d35911b"
        );
    }

    #[test]
    fn dingtalk_signs_time_and_secret_by_the_secret() {
        assert_eq!(dingtalk("SECabc", 1_795_400_761_999), "E8JdOte+z+9chdwzcQatu8aAr3UjBX8OrB8bufjMhkE=");
        assert_eq!(
            url_encode(&dingtalk("SECabc", 1_795_400_761_999)),
            "E8JdOte%2Bz%2B9chdwzcQatu8aAr3UjBX8OrB8bufjMhkE%3D"
        );
    }

    #[test]
    fn feishu_signs_nothing_by_time_and_secret() {
        assert_eq!(feishu("feishu-key", 1_795_400_761), "v8cVl9OMIAKOs1YWNPDhxOt8BNjLVsi46QjaZteay6c=");
    }

    #[test]
    fn what_a_query_cannot_hold_is_escaped() {
        assert_eq!(url_encode("a+b/c=é~"), "a%2Bb%2Fc%3D%C3%A9~");
    }
}
