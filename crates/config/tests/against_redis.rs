//! What Redis 7.0.15 said, and what we say to the same.

use config::{Caller, Config, PARAMS, Param, Support, find, split_words};

const GET: &str = include_str!("../testdata/config-get-7.0.15.txt");
const SET: &str = include_str!("../testdata/config-set-7.0.15.txt");

/// Defaults that differ, with the reason.
const OTHER_DEFAULTS: &[(&str, &str)] = &[("crash-memcheck-enabled", "memory is not tested after a crash")];

/// Listed parameters that 7.0.15 does not have.
const NEWER: &[&str] = &[
    "set-max-listpack-entries",
    "set-max-listpack-value",
    "locale-collate",
    "cluster-announce-human-nodename",
    // Ours.
    "rdb-version",
    "aof-disk-budget",
    "aof-prepared-space",
    "gather-requests-us",
    "replica-accept-empty-master",
    "synchronous-replicas",
    "synchronous-commit",
    "synchronous-timeout",
    "synchronous-lease",
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_parameter_of_redis_is_listed_with_its_default() {
    let config = Config::default();
    let ours = config.get(&[b"*"]);
    let mut theirs = 0;
    for line in GET.lines().filter(|line| !line.starts_with('#')) {
        theirs += 1;
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let (_, ours) = ours.iter().find(|(ours, _)| ours == name.as_bytes()).expect(name);
        let differs = OTHER_DEFAULTS.iter().any(|(other, _)| *other == name);
        assert_eq!(text(ours) != value, differs, "{name}: {value:?} there, {:?} here", text(ours));
    }
    assert!(theirs > 170);
    assert_eq!(ours.len(), theirs + NEWER.len());
    assert!(NEWER.iter().all(|name| find(name.as_bytes()).is_some()));
}

#[test]
fn config_set_and_get_answer_as_redis_does() {
    let mut config = Config::default();
    let mut lines = SET.lines().filter(|line| !line.starts_with('#')).peekable();
    while let Some(line) = lines.next() {
        let words = split_words(&line.as_bytes()[2..]).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let reply = if line.starts_with('>') {
            let pairs: Vec<_> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            vec![match config.set_many(&pairs, Caller { local: true, loading: false }) {
                Ok(_) => "OK".to_owned(),
                Err(error) => text(&error.reply()),
            }]
        } else {
            let mut found: Vec<String> = config
                .get(&words)
                .iter()
                .map(|(name, value)| format!("{} {}", text(name), text(value)).trim_end().to_owned())
                .collect();
            found.sort();
            found
        };
        for ours in reply {
            assert_eq!(Some(ours.as_str()), lines.next(), "after {line}");
        }
        assert!(
            lines.peek().is_none_or(|next| next.starts_with("> ") || next.starts_with("? ")),
            "Redis says more to {line}: {:?}",
            lines.peek()
        );
    }
}

#[test]
fn a_parameter_that_does_not_work_takes_its_default_and_nothing_else() {
    for param in PARAMS {
        let Support::Refused(reason) = param.support else { continue };
        let mut config = Config::default();
        let words: Vec<&[u8]> = match (param.kind.is_multi(), param.default) {
            (true, "") => vec![b""],
            (true, text) => text.split(' ').map(str::as_bytes).collect(),
            (false, text) => vec![text.as_bytes()],
        };
        assert_eq!(config.set_at_start(param.name.as_bytes(), &words), Ok(()), "{}", param.name);
        let refused = config.set_at_start(param.name.as_bytes(), &other_words(param)).unwrap_err();
        if param.name != "activedefrag" {
            assert!(refused.ends_with(reason), "{}: {refused}", param.name);
        }
        assert_eq!(config, Config::default());
    }
}

/// Returns words that the parameter's kind allows and that are not its default.
fn other_words(param: &Param) -> Vec<&'static [u8]> {
    use config::Kind;
    match param.kind {
        Kind::Bool if param.default == "yes" => vec![b"no"],
        Kind::Bool => vec![b"yes"],
        Kind::Int { min, .. } if param.default != min.to_string() => vec![min.to_string().leak().as_bytes()],
        Kind::Int { max, .. } => vec![max.to_string().leak().as_bytes()],
        Kind::Memory { .. } => vec![b"123456"],
        Kind::Choice(list) => {
            vec![list.iter().find(|word| **word != param.default).unwrap().as_bytes()]
        }
        Kind::SavePoints => vec![b"900", b"1"],
        Kind::Replicaof => vec![b"localhost", b"6379"],
        _ => vec![b"other"],
    }
}

#[test]
fn the_first_save_line_takes_the_place_of_the_defaults_and_others_are_added() {
    let mut config = Config::default();
    assert_eq!(config.save, [(3600, 1), (300, 100), (60, 10_000)]);
    config.set_at_start(b"save", &[b"900", b"1"]).unwrap();
    assert!(config.set_at_start(b"save", &[b"x"]).is_err());
    config.set_at_start(b"save", &[b"30 10"]).unwrap();
    assert_eq!(config.save, [(900, 1), (30, 10)]);
    config.set_at_start(b"save", &[b""]).unwrap();
    assert_eq!(config.save, []);
    config.set_at_start(b"save", &[b"5", b"1"]).unwrap();
    assert_eq!(config.save, [(5, 1)]);
    let _ = config.set(b"save", b"7 8", Caller::default()).unwrap();
    assert_eq!(config.save, [(7, 8)], "CONFIG SET sets");
}

#[test]
fn protected_parameters_follow_enable_protected_configs() {
    let local = Caller { local: true, loading: false };
    let remote = Caller::default();
    let mut config = Config::default();
    assert!(config.set(b"dir", b"/", local).is_err());
    config.set_at_start(b"enable-protected-configs", &[b"local"]).unwrap();
    assert!(config.set(b"dir", b"/", remote).is_err());
    assert!(config.set(b"dir", b"/", local).unwrap().contains("dir"));

    let loading = Caller { local: true, loading: true };
    let error = config.set(b"dir", b"/", loading).unwrap_err();
    assert!(error.reply().starts_with(b"LOADING "));
}

#[test]
fn changes_name_what_is_new_and_can_be_taken_back() {
    let mut config = Config::default();
    let caller = Caller::default();
    let changes = config.set_many(&[(b"timeout", b"0"), (b"HZ", b"20"), (b"maxmemory", b"1gb")], caller);
    let changes = changes.unwrap();
    assert_eq!(changes.params().iter().map(|param| param.name).collect::<Vec<_>>(), ["hz", "maxmemory"]);
    assert_eq!((config.hz, config.maxmemory), (20, 1 << 30));
    assert_eq!(changes.before().hz, 10);
    config.roll_back(changes);
    assert_eq!(config, Config::default());
}
