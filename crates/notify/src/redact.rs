//! Strikes secrets out of arguments, texts and JSON before they are saved or sent.
//!
//! It errs on the side of striking out too much: a record that hides a word too many is still a record, one that shows
//! a password is a leak. It knows names (`--password X`, `TOKEN=…`, `"secret": "…"`), URLs (`user:password@`, webhook
//! paths, query parameters), headers (`Authorization: …`), short options of programs that take passwords, private keys
//! in PEM, and the shapes of well-known tokens. What has neither a name nor a shape cannot be known for a secret.

use serde_json::Value;

/// What stands where a secret stood.
pub const STRUCK: &str = "[redacted]";

/// Parts of names whose values are secrets, written without separators.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passin",
    "passout",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
    "authorization",
    "cookie",
    "connectionstring",
];

/// Names that are secrets only when they stand alone between separators: `db_pass`, but not `bypass`.
const WORDS: &[&str] = &["pass", "pwd", "auth", "sig", "signature", "pgpass", "requirepass", "masterauth"];

/// How tokens of well-known makers begin, and how long one is at least.
const SHAPES: &[(&str, usize)] = &[
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 15),
    ("npm_", 20),
    ("pypi-", 20),
    ("xoxb-", 15),
    ("xoxp-", 15),
    ("xoxa-", 15),
    ("xoxs-", 15),
    ("xapp-", 15),
    ("sk-", 20),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("AKIA", 20),
    ("ASIA", 20),
    ("AIza", 30),
    ("eyJ", 30),
    ("hvs.", 20),
    ("dop_v1_", 20),
];

/// Programs with options of one letter that carry a password, and those letters.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("mysql", &["-p"]),
    ("mysqldump", &["-p"]),
    ("mysqladmin", &["-p"]),
    ("mariadb", &["-p"]),
    ("mariadb-dump", &["-p"]),
    ("mariadb-admin", &["-p"]),
    ("sshpass", &["-p"]),
    ("mongosh", &["-p"]),
    ("mongodump", &["-p"]),
    ("docker", &["-p"]),
    ("ldapsearch", &["-w"]),
    ("smbclient", &["-U"]),
    ("curl", &["-u", "--user", "-U", "--proxy-user"]),
    ("redis-cli", &["-a"]),
    ("valkey-cli", &["-a"]),
];

/// Returns a command's arguments without the secrets in them.
pub fn arguments(arguments: &[String]) -> Vec<String> {
    let mut options = Options::default();
    arguments
        .iter()
        .map(|argument| {
            if options.next_is_secret(argument) {
                return STRUCK.to_owned();
            }
            if let Some(option) = options.glued(argument) {
                return format!("{option}{STRUCK}");
            }
            if argument.contains(char::is_whitespace) { line(argument) } else { text(argument) }
        })
        .collect()
}

/// Returns one argument that holds a whole command line (`sh -c "…"`) without the secrets in it.
fn line(argument: &str) -> String {
    let mut options = Options::default();
    let mut struck = String::with_capacity(argument.len());
    for piece in argument.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        let space = &piece[word.len()..];
        if options.next_is_secret(word) {
            struck.push_str(STRUCK);
        } else if let Some(option) = options.glued(word) {
            struck.push_str(option);
            struck.push_str(STRUCK);
        } else {
            struck.push_str(word);
        }
        struck.push_str(space);
    }
    text(&struck)
}

/// Follows a command line word by word: which program it is, and whether a secret comes next.
#[derive(Default)]
struct Options {
    letters: &'static [&'static str],
    secret_next: bool,
}

impl Options {
    /// Takes the next word; returns whether it is the value of an option that takes a secret.
    fn next_is_secret(&mut self, word: &str) -> bool {
        if std::mem::take(&mut self.secret_next) && !word.is_empty() {
            return true;
        }
        let program = word.rsplit('/').next().unwrap_or(word);
        if let Some((_, letters)) = PROGRAMS.iter().find(|(name, _)| *name == program) {
            self.letters = letters;
        }
        // What only says whether to ask for one takes no value.
        let asks = word.starts_with("--no-") || word.starts_with("--ask-");
        self.secret_next = self.letters.contains(&word)
            || (word.starts_with('-') && !word.contains('=') && !asks && is_secret_name(word));
        false
    }

    /// Returns the option that this word begins with when the secret is glued to it, as in `-pSECRET`.
    fn glued(&self, word: &str) -> Option<&'static str> {
        let short = self.letters.iter().filter(|letter| letter.len() == 2);
        short.copied().find(|letter| word.len() > 2 && word.starts_with(letter))
    }
}

/// Returns whether the value of what has this name is a secret.
pub fn is_secret_name(name: &str) -> bool {
    let joined: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    NAMES.iter().any(|part| joined.contains(part)) || words(name).any(|word| WORDS.contains(&word.as_str()))
}

/// Returns the words of a name: `dbPass`, `db-pass` and `DB_PASS` have two.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut lower_before = false;
    for character in name.chars() {
        let starts_word = lower_before && character.is_ascii_uppercase();
        if (starts_word || !character.is_ascii_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_ascii_alphanumeric() {
            word.push(character.to_ascii_lowercase());
        }
        lower_before = character.is_ascii_lowercase();
    }
    words.push(word);
    words.into_iter()
}

/// Returns JSON without the secrets in it: by the names of members, and in every text.
pub fn json(value: &Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        Value::Object(members) => {
            let strike = |name: &str, value: &Value| match value {
                Value::Null | Value::Bool(_) => value.clone(),
                _ if is_secret_name(name) => Value::String(STRUCK.into()),
                _ => json(value),
            };
            Value::Object(members.iter().map(|(name, value)| (text(name), strike(name, value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Returns the end of a program's output as a record keeps it: without secrets, of at most `limit` bytes.
pub fn tail(output: &[u8], limit: usize) -> String {
    // Secrets are struck before the cut: a name that the cut takes away would leave its value standing.
    let struck = text(&String::from_utf8_lossy(output));
    if struck.len() <= limit {
        return struck;
    }
    let mut start = struck.len() - limit;
    while !struck.is_char_boundary(start) {
        start += 1;
    }
    struck[start..].to_owned()
}

/// Returns a text without the secrets in it.
pub fn text(input: &str) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while !rest.is_empty() {
        let word = &rest[..span(rest, is_name_byte)];
        if word.is_empty() {
            let next = rest.chars().next().map_or(rest.len(), char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let after = &rest[word.len()..];
        let eaten = if after.starts_with("://") {
            Some(url(rest, &mut out))
        } else if word.contains("-----BEGIN") {
            pem(rest, &mut out)
        } else if has_shape(word) {
            out.push_str(STRUCK);
            Some(word.len() + span(after, is_token_byte))
        } else {
            scheme(word, after, &mut out).or_else(|| named(word, after, &mut out))
        };
        let eaten = eaten.unwrap_or_else(|| {
            out.push_str(word);
            word.len()
        });
        rest = &rest[eaten..];
    }
    out
}

/// Strikes what follows `Bearer` or `Basic`; returns how much it ate.
fn scheme(word: &str, after: &str, out: &mut String) -> Option<usize> {
    let spaces = span(after, |byte| byte == b' ');
    let value = &after[spaces..][..span(&after[spaces..], is_token_byte)];
    let mixed = value.bytes().any(|byte| !byte.is_ascii_lowercase());
    let known = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
    (known && spaces > 0 && value.len() >= 8 && mixed && !value.starts_with(STRUCK)).then(|| {
        out.push_str(word);
        out.push_str(&after[..spaces]);
        out.push_str(STRUCK);
        word.len() + spaces + value.len()
    })
}

/// Strikes the value of a secret's name, as in `TOKEN=x`, `"token": "x"`, `--token x` and `token 4fQ…`.
fn named(word: &str, after: &str, out: &mut String) -> Option<usize> {
    if !is_secret_name(word) {
        return None;
    }
    // A backslash stands here where JSON is quoted within JSON.
    let quotes = span(after, |byte| matches!(byte, b'"' | b'\'' | b'\\'));
    let spaces = span(&after[quotes..], |byte| matches!(byte, b' ' | b'\t'));
    let signs = span(&after[quotes + spaces..], |byte| matches!(byte, b':' | b'=' | b'>'));
    let mut lead = quotes + spaces + signs;
    if signs > 0 {
        lead += span(&after[lead..], |byte| matches!(byte, b' ' | b'\t'));
    }
    let value = &after[lead..];
    let length = if signs > 0 && is_header(word) {
        // These have several words, up to the end of the line or of the quoted argument.
        value.find(['\n', '\r']).unwrap_or(value.len())
    } else if signs > 0 || (word.starts_with('-') && spaces > 0) {
        value_length(value)
    } else if spaces > 0 {
        let token = span(value, is_token_byte);
        // A number alone is one that people count by, as fencing tokens are.
        let looks_random = token >= 16
            && value[..token].bytes().any(|byte| byte.is_ascii_digit())
            && value[..token].bytes().any(|byte| !byte.is_ascii_digit());
        if looks_random { token } else { 0 }
    } else {
        0
    };
    (length > 0 && !value.starts_with(STRUCK)).then(|| {
        out.push_str(word);
        out.push_str(&after[..lead]);
        out.push_str(STRUCK);
        word.len() + lead + length
    })
}

fn is_header(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    lower.ends_with("authorization") || lower.ends_with("cookie")
}

/// Returns how long a value is that stands behind its name: to its closing quote, or else to the next space.
fn value_length(value: &str) -> usize {
    let opening = span(value, |byte| byte == b'\\');
    let Some(quote @ (b'"' | b'\'')) = value.as_bytes().get(opening).copied() else {
        return value
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\''))
            .unwrap_or(value.len());
    };
    let mut escaped = false;
    for (place, byte) in value.bytes().enumerate().skip(opening + 1) {
        match byte {
            b'\n' => return place,
            // Within JSON in JSON the closing quote has a backslash of its own.
            _ if byte == quote && (!escaped || opening > 0) => return place + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    value.len()
}

/// Strikes a private key in PEM, up to its end line or the text's end; returns how much it ate.
fn pem(rest: &str, out: &mut String) -> Option<usize> {
    let line = rest.split('\n').next().unwrap_or(rest);
    if !line.contains("PRIVATE KEY") {
        return None;
    }
    out.push_str(STRUCK);
    let end = rest.find("-----END").map(|end| end + "-----END".len());
    Some(end.map_or(rest.len(), |end| rest[end..].find("-----").map_or(rest.len(), |close| end + close + 5)))
}

/// Writes a URL without its password, its secret path and its secret parameters; returns how much it ate.
fn url(rest: &str, out: &mut String) -> usize {
    let length = rest
        .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
        .unwrap_or(rest.len());
    let whole = &rest[..length];
    let start = whole.find("://").map_or(0, |colon| colon + 3);
    out.push_str(&whole[..start]);
    let mut tail = &whole[start..];

    let authority = tail.find(['/', '?', '#']).unwrap_or(tail.len());
    let at = tail[..authority].rfind('@').or_else(|| {
        // A password may hold a slash that nobody escaped; then what follows the colon is no port.
        let port = tail[..authority].split_once(':')?.1;
        (!port.bytes().all(|byte| byte.is_ascii_digit())).then(|| tail.rfind('@'))?
    });
    if let Some(at) = at {
        match tail[..at].split_once(':') {
            Some((user, _)) => {
                out.push_str(user);
                out.push(':');
                out.push_str(STRUCK);
            }
            // A long user without a password is a token, as in https://TOKEN@host.
            None if at >= 16 => out.push_str(STRUCK),
            None => out.push_str(&tail[..at]),
        }
        tail = &tail[at..];
    }

    let path_start = tail.find(['/', '?', '#']).unwrap_or(tail.len());
    out.push_str(&tail[..path_start]);
    let (path, query) =
        tail[path_start..].split_at(tail[path_start..].find(['?', '#']).unwrap_or(tail.len() - path_start));
    let mut secret_from_here = false;
    for segment in path.split_inclusive('/') {
        let name = segment.trim_end_matches('/');
        if secret_from_here && !name.is_empty() {
            out.push_str(STRUCK);
            out.push_str(&segment[name.len()..]);
        } else {
            out.push_str(segment);
        }
        secret_from_here |= matches!(name, "hook" | "hooks" | "services" | "webhook" | "webhooks");
    }
    for part in query.split_inclusive(['?', '&', ';', '#']) {
        match part.split_once('=') {
            Some((name, value)) if is_secret_name(name) || matches!(name, "key" | "sign" | "code") => {
                let end = if value.ends_with(['&', ';', '#']) { &value[value.len() - 1..] } else { "" };
                out.push_str(name);
                out.push('=');
                out.push_str(STRUCK);
                out.push_str(end);
            }
            _ => out.push_str(part),
        }
    }
    length
}

fn has_shape(word: &str) -> bool {
    SHAPES.iter().any(|(start, length)| word.starts_with(start) && word.len() >= *length)
}

fn span(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn is_token_byte(byte: u8) -> bool {
    is_name_byte(byte) || matches!(byte, b'+' | b'/' | b'=' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_fencing_token_is_no_secret() {
        for line in ["held by a:1 (token 1496694389408805) after 3 checks", "token 1496694389408805"] {
            assert_eq!(text(line), line);
        }
        assert_eq!(text("token 14966943894088a5"), "token [redacted]");
    }

    #[test]
    fn options_lose_their_secrets_and_keep_their_names() {
        for (before, after) in [
            ("backup --password hunter2 --keep 7", "backup --password [redacted] --keep 7"),
            ("backup --password=hunter2 x", "backup --password=[redacted] x"),
            ("backup --token=hunter2", "backup --token=[redacted]"),
            ("backup --api-key hunter2", "backup --api-key [redacted]"),
            ("backup -token hunter2", "backup -token [redacted]"),
            ("env DB_PASSWORD=hunter2 backup", "env DB_PASSWORD=[redacted] backup"),
            ("env AWS_SECRET_ACCESS_KEY=hunter2/x+y= backup", "env AWS_SECRET_ACCESS_KEY=[redacted] backup"),
            ("mysqldump -phunter2 -u root db", "mysqldump -p[redacted] -u root db"),
            ("/usr/bin/sshpass -p hunter2 ssh host", "/usr/bin/sshpass -p [redacted] ssh host"),
            ("curl -u ada:hunter2 https://x.org/a", "curl -u [redacted] https://x.org/a"),
            ("redis-cli -a hunter2 PING", "redis-cli -a [redacted] PING"),
            ("redis-cli --pass hunter2 PING", "redis-cli --pass [redacted] PING"),
            ("cp -p file copy", "cp -p file copy"),
            ("tool --no-password file", "tool --no-password file"),
            ("bypass --author ada --lines 40", "bypass --author ada --lines 40"),
        ] {
            assert_eq!(arguments(&words_of(before)).join(" "), after);
        }
        let script =
            ["sh", "-c", "cd /srv && mysqldump -phunter2 db > x; curl --user a:hunter2 u"].map(String::from);
        assert_eq!(
            arguments(&script)[2],
            "cd /srv && mysqldump -p[redacted] db > x; curl --user [redacted] u"
        );
        let header = ["curl", "-H", "Authorization: Bearer hunter2 and more"].map(String::from);
        assert_eq!(arguments(&header)[2], "Authorization: [redacted]");
    }

    #[test]
    fn urls_keep_where_they_lead_and_lose_what_opens_the_door() {
        for (before, after) in [
            ("redis://ada:hunter2@db:6379/0", "redis://ada:[redacted]@db:6379/0"),
            ("redis://:hunter2@db", "redis://:[redacted]@db"),
            ("redis://:hun/ter2@db/0", "redis://:[redacted]@db/0"),
            ("postgres://ada:h@nter2@db/x?sslmode=on", "postgres://ada:[redacted]@db/x?sslmode=on"),
            ("https://0123456789abcdef01@git.org/x", "https://[redacted]@git.org/x"),
            ("ssh://git@git.org/x", "ssh://git@git.org/x"),
            ("http://[::1]:8080/x?a=1&token=hunter2&b=2", "http://[::1]:8080/x?a=1&token=[redacted]&b=2"),
            (
                "https://hooks.slack.com/services/T0/B0/hunter2",
                "https://hooks.slack.com/services/[redacted]/[redacted]/[redacted]",
            ),
            (
                "https://open.feishu.cn/open-apis/bot/v2/hook/hunter2",
                "https://open.feishu.cn/open-apis/bot/v2/hook/[redacted]",
            ),
            (
                "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=hunter2",
                "https://qyapi.weixin.qq.com/cgi-bin/webhook/[redacted]?key=[redacted]",
            ),
            (
                "https://oapi.dingtalk.com/robot/send?access_token=hunter2",
                "https://oapi.dingtalk.com/robot/send?access_token=[redacted]",
            ),
            ("see https://x.org/a?b=c.", "see https://x.org/a?b=c."),
        ] {
            assert_eq!(text(before), after);
        }
    }

    #[test]
    fn texts_lose_what_is_named_or_shaped_as_a_secret() {
        for (before, after) in [
            ("password: hunter2\nnext", "password: [redacted]\nnext"),
            ("password = 'hunter 2' next", "password = [redacted] next"),
            (r#"{"password": "hun\"ter2", "a": 1}"#, r#"{"password": [redacted], "a": 1}"#),
            (r#"{\"token\": \"hunter2\", \"a\": 1}"#, r#"{\"token\": [redacted], \"a\": 1}"#),
            ("Cookie: a=b; c=hunter2\nHost: x", "Cookie: [redacted]\nHost: x"),
            ("got Bearer hunter2abc, then", "got Bearer [redacted], then"),
            ("the token dGhpcyBpcyBzZWNyZXQ0 was", "the token [redacted] was"),
            ("used ghp_0123456789abcdefghij0123 for", "used [redacted] for"),
            ("unexpected token in line 4", "unexpected token in line 4"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----\nx",
                "[redacted]\nx",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIhunter2", "[redacted]"),
            ("-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMII"),
            ("größer: naïve — ok", "größer: naïve — ok"),
        ] {
            assert_eq!(text(before), after);
            assert_eq!(text(after), after, "a second pass changes nothing");
        }
    }

    #[test]
    fn json_is_struck_by_member_and_by_text() {
        let before = serde_json::json!({"db": {"passWord": "hunter2", "pin": 1}, "run": ["--token=hunter2"], "secret": 7});
        let after = serde_json::json!({"db": {"passWord": STRUCK, "pin": 1}, "run": ["--token=[redacted]"], "secret": STRUCK});
        assert_eq!(json(&before), after);
    }

    #[test]
    fn the_cut_of_a_tail_never_lays_a_secret_bare() {
        let output = format!("password={}\nfailed é\n", "hunter2".repeat(20));
        for limit in 0..output.len() {
            let kept = tail(output.as_bytes(), limit);
            assert!(kept.len() <= limit && !kept.contains("hunter2"), "{limit}: {kept}");
        }
        assert_eq!(tail(b"\xff\xfe ok", 4), " ok");
    }

    #[test]
    fn any_text_comes_through_without_a_panic_and_without_its_secret() {
        const PIECES: [&str; 24] = [
            "password",
            "=",
            ":",
            " ",
            "\"",
            "'",
            "\\",
            "://",
            "@",
            "/",
            "?",
            "&",
            "é",
            "\n",
            "--token",
            "-p",
            "mysql",
            "-----BEGIN PRIVATE KEY-----",
            "-----END",
            "Bearer",
            "Authorization",
            "ghp_",
            "x",
            "{",
        ];
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let noise: String = (0..next(12)).map(|_| PIECES[next(PIECES.len())]).collect();
            let _ = text(&noise);
            let _ = arguments(&[noise.clone(), noise.clone()]);
            let _ = tail(noise.as_bytes(), next(40));
            // Whatever stands around it on other lines, a named secret does not stay.
            let before = format!("{}\nDB_PASSWORD=hunter2\n{noise}", noise.replace(['"', '\'', '\\'], ""));
            assert!(!text(&before).contains("hunter2"), "{before:?} became {:?}", text(&before));
        }
    }
}
