//! Every channel against a receiver that works, and against each way in which one does not.

#[path = "support/smtp.rs"]
mod smtp;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::channel::Failure;
use notify::message::Message;
use notify::{Config, FailureKind, FailureRecord, UnixMs, sign};
use smtp::{MailServer, Manner};
use support::{Behaviour, Folder, Receiver, nobody};
use tls::Identity;

/// A secret that no failure may mention.
const SECRET: &str = "hunter2hunter2";

/// The channels of HTTP, with what each takes for a success and for a refusal.
const VENDORS: [(&str, &str, Option<&str>); 5] = [
    ("webhook", "", None),
    ("slack", "ok", Some("invalid_payload")),
    ("dingtalk", r#"{"errcode":0,"errmsg":"ok"}"#, Some(r#"{"errcode":310000,"errmsg":"sign not match"}"#)),
    ("feishu", r#"{"code":0,"msg":"success"}"#, Some(r#"{"code":19021,"msg":"sign match fail"}"#)),
    ("wecom", r#"{"errcode":0,"errmsg":"ok"}"#, Some(r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#)),
];

fn config(channel: &str) -> Config {
    let text = format!(
        r#"
[people.ada]
name = "Ada Lovelace"
channels = ["c"]
slack = "U012AB3CD"
dingtalk = "13800138000"
feishu = "ou_ada"
wecom = "ada.l"
wecom_mobile = "13900139000"
email = "ada@example.org"

[channels.c]
timeout = "700ms"
{channel}

[[routes]]
keys = "*"
people = "ada"
"#
    );
    Config::parse(&text, Path::new("/tmp/notify.toml")).unwrap()
}

fn http(kind: &str, url: &str) -> Config {
    let secret =
        if matches!(kind, "webhook" | "dingtalk" | "feishu") { "secret = \"SEChunter2\"" } else { "" };
    config(&format!("type = \"{kind}\"\nurl = \"{url}\"\n{secret}"))
}

fn record() -> FailureRecord {
    FailureRecord::here(FailureKind::Busy, "nightly:<!channel>")
        .task("report")
        .arguments(["report", "--fast"])
}

fn deliver(config: &Config) -> Result<(), Failure> {
    let record = record();
    let person = config.person("ada").unwrap();
    let message = Message { record: &record, person_id: "ada", person, repeated: 0, since: record.at_ms };
    let outcome = config.channel("c").unwrap().deliver(&message, UnixMs::now());
    if let Err(failure) = &outcome {
        assert!(!failure.what.contains("hunter2"), "a failure mentions a secret: {}", failure.what);
        assert!(!failure.what.is_empty() && failure.what.len() < 500);
    }
    outcome
}

fn failure(config: &Config) -> String {
    deliver(config).unwrap_err().what
}

#[test]
fn receivers_get_what_they_expect_and_a_person_is_mentioned() {
    for (kind, success, _) in VENDORS {
        let receiver = Receiver::ok(success);
        let config = http(kind, &receiver.url("/hook?key=1"));
        deliver(&config).unwrap_or_else(|failure| panic!("{kind}: {}", failure.what));
        let request = receiver.requests().remove(0);
        let body = request.text();
        assert!(request.headers["content-type"].starts_with("application/json"), "{kind}");
        assert!(body.contains("report did not run: the lock was held by another"), "{kind}: {body}");
        let json = request.json();
        match kind {
            "webhook" => {
                assert_eq!((&json["kind"], &json["person"]), (&"busy".into(), &"ada".into()));
                assert_eq!(request.headers["x-redstart-record"], json["id"].as_str().unwrap());
                let signature = &request.headers["x-redstart-signature"];
                let seconds = signature.strip_prefix("t=").unwrap().split(',').next().unwrap();
                let seconds: u64 = seconds.parse().unwrap();
                assert_eq!(signature, &sign::webhook("SEChunter2", seconds, &request.body));
            }
            "slack" => {
                let text = json["text"].as_str().unwrap();
                assert!(text.starts_with("<@U012AB3CD> "), "{text}");
                assert!(text.contains("nightly:&lt;!channel&gt;") && !text.contains("<!channel>"), "{text}");
            }
            "dingtalk" => {
                assert_eq!(json["at"]["atMobiles"][0], "13800138000");
                assert!(json["text"]["content"].as_str().unwrap().starts_with("@13800138000 "));
                let query = request.line.split(' ').nth(1).unwrap().split_once("&timestamp=").unwrap().1;
                let (time, sent) = query.split_once("&sign=").unwrap();
                let expected = sign::dingtalk("SEChunter2", time.parse().unwrap());
                assert_eq!(sent, sign::url_encode(&expected));
            }
            "feishu" => {
                let text = json["content"]["text"].as_str().unwrap();
                assert!(text.starts_with("<at user_id=\"ou_ada\">Ada Lovelace</at> "), "{text}");
                assert_eq!(text.matches('<').count(), 2, "nothing but the mention is a tag: {text}");
                let time = json["timestamp"].as_str().unwrap().parse().unwrap();
                assert_eq!(json["sign"], sign::feishu("SEChunter2", time));
            }
            _ => {
                assert_eq!(json["text"]["mentioned_list"][0], "ada.l");
                assert_eq!(json["text"]["mentioned_mobile_list"][0], "13900139000");
                assert!(json["text"]["content"].as_str().unwrap().starts_with("Ada Lovelace: "));
            }
        }
    }
}

#[test]
fn a_status_other_than_success_is_a_failure() {
    for (kind, success, _) in VENDORS {
        let receiver = Receiver::start(Behaviour::Answer(500, format!("{success} but {SECRET}")));
        let config = http(kind, &receiver.url(&format!("/services/{SECRET}")));
        assert!(failure(&config).starts_with("answered 500 with "), "{kind}");
        receiver.behave(Behaviour::Close);
        assert!(!failure(&config).is_empty(), "{kind}");
    }
}

#[test]
fn a_vendors_error_code_is_a_failure_though_the_status_is_success() {
    for (kind, _, refusal) in VENDORS {
        let Some(refusal) = refusal else { continue };
        for answer in [refusal, "", "[]", "<html>proxy</html>"] {
            let receiver = Receiver::ok(answer);
            let what = failure(&http(kind, &receiver.url("/")));
            let begun = answer.get(..8).unwrap_or(answer);
            assert!(what.contains(" answered ") && what.contains(begun), "{kind}: {what}");
        }
    }
}

#[test]
fn older_feishu_bots_answer_in_other_words() {
    let receiver = Receiver::ok(r#"{"StatusCode":0,"StatusMessage":"success"}"#);
    assert!(deliver(&http("feishu", &receiver.url("/"))).is_ok());
}

#[test]
fn a_receiver_that_hangs_or_never_ends_is_given_up() {
    for (kind, ..) in VENDORS {
        for behaviour in [Behaviour::Hang, Behaviour::Flood] {
            let receiver = Receiver::start(behaviour.clone());
            let begun = Instant::now();
            let outcome = deliver(&http(kind, &receiver.url("/")));
            assert!(begun.elapsed() < Duration::from_secs(5), "{kind} {behaviour:?}");
            // A webhook that begins with 200 took the message, however much it has to say.
            let taken = kind == "webhook" && matches!(behaviour, Behaviour::Flood);
            assert_eq!(outcome.is_ok(), taken, "{kind} {behaviour:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_redirect_is_not_followed() {
    for (kind, ..) in VENDORS {
        for status in [301, 302, 303, 307, 308] {
            let receiver = Receiver::start(Behaviour::RedirectForEver(status));
            let what = failure(&http(kind, &receiver.url("/")));
            assert!(what.contains(&format!("answered {status}, a redirect")), "{kind}: {what}");
            assert_eq!(receiver.requests().len(), 1);
        }
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let identity = Arc::new(Identity::new("localhost"));
    let other = Arc::new(Identity::new("elsewhere.example.org"));
    let folder = Folder::new();
    let (ca, other_ca) = (folder.write("ca.pem", &identity.pem), folder.write("other.pem", &other.pem));
    for (kind, success, _) in VENDORS {
        let receiver = Receiver::start_with(Behaviour::Answer(200, success.into()), identity.wrap());
        let url = receiver.https("/");
        let channel = |ca: &str| config(&format!("type = \"{kind}\"\nurl = \"{url}\"\n{ca}"));
        let what = failure(&channel(""));
        assert!(what.contains("TLS: invalid peer certificate"), "{kind}: {what}");
        assert!(failure(&channel(&format!("ca_file = \"{other_ca}\""))).contains("certificate"), "{kind}");
        assert!(receiver.requests().is_empty(), "nothing was sent before the certificate was seen");
        let trusted = deliver(&channel(&format!("ca_file = \"{ca}\"")));
        assert_eq!(trusted, Ok(()), "{kind}");

        let misnamed = Receiver::start_with(Behaviour::Answer(200, success.into()), other.wrap());
        let url = misnamed.https("/");
        let what = failure(&config(&format!("type = \"{kind}\"\nurl = \"{url}\"\nca_file = \"{other_ca}\"")));
        assert!(what.contains("certificate"), "{kind}: {what}");
    }
}

#[test]
fn a_receiver_that_is_not_there_is_a_failure() {
    for (kind, ..) in VENDORS {
        let what = failure(&http(kind, &format!("http://{}/services/{SECRET}", nobody())));
        assert!(what.contains("refused"), "{kind}: {what}");
    }
}

#[test]
fn a_receiver_that_wants_silence_says_for_how_long() {
    let hold = |kind: &str, behaviour| {
        let receiver = Receiver::start(behaviour);
        deliver(&http(kind, &receiver.url("/"))).unwrap_err().hold.map(|hold| hold.as_secs())
    };
    assert_eq!(hold("slack", Behaviour::AnswerWith(429, "Retry-After: 7", "")), Some(7));
    assert_eq!(hold("slack", Behaviour::AnswerWith(429, "Retry-After: 999999", "")), Some(600));
    assert_eq!(hold("slack", Behaviour::Answer(429, String::new())), Some(30));
    assert_eq!(hold("webhook", Behaviour::AnswerWith(503, "Retry-After: 9", "")), Some(9));
    assert_eq!(hold("webhook", Behaviour::Answer(503, String::new())), None);
    assert_eq!(hold("dingtalk", Behaviour::Answer(200, r#"{"errcode":130101}"#.into())), Some(600));
    assert_eq!(hold("feishu", Behaviour::Answer(200, r#"{"code":11232}"#.into())), Some(60));
    assert_eq!(hold("wecom", Behaviour::Answer(200, r#"{"errcode":45009}"#.into())), Some(60));
}

#[test]
fn headers_of_ones_own_are_sent_and_never_shown() {
    let receiver = Receiver::ok("");
    let url = receiver.url("/");
    let config = config(&format!(
        "type = \"webhook\"\nurl = \"{url}\"\n[channels.c.headers]\nAuthorization = \"Bearer {SECRET}\""
    ));
    deliver(&config).unwrap();
    assert_eq!(receiver.requests()[0].headers["authorization"], format!("Bearer {SECRET}"));
    assert!(!format!("{config:?}").contains(SECRET));
    receiver.behave(Behaviour::Answer(400, format!("you sent Bearer {SECRET}")));
    assert!(failure(&config).contains("answered 400"));
}

fn mail(server: &MailServer, rest: &str) -> Config {
    let port = server.address.port();
    config(&format!(
        "type = \"smtp\"\nserver = \"localhost\"\nport = {port}\nfrom = \"Redstart <r@example.org>\"\n{rest}"
    ))
}

#[test]
fn mail_goes_over_starttls_with_a_password() {
    let identity = Arc::new(Identity::new("localhost"));
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &identity.pem);
    let server = MailServer::start(Manner::StartTls, Some(&identity));
    let config =
        mail(&server, &format!("ca_file = \"{ca}\"\nusername = \"redstart\"\npassword = \"{SECRET}\""));
    assert_eq!(deliver(&config), Ok(()));
    let taken = server.mails();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].encrypted && taken[0].authenticated);
    let text = &taken[0].text;
    assert_eq!(taken[0].recipient, "<ada@example.org>");
    for part in
        ["Subject: [redstart] report did not run", "To: \"Ada Lovelace\" <ada@example.org>", ".ada@redstart>"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(SECRET) && !server.said_in_clear().contains("AUTH"));
}

#[test]
fn mail_goes_over_tls_from_the_start_or_over_a_plain_line_when_told_so() {
    let identity = Arc::new(Identity::new("localhost"));
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &identity.pem);
    let server = MailServer::start(Manner::Implicit, Some(&identity));
    assert_eq!(deliver(&mail(&server, &format!("tls = \"implicit\"\nca_file = \"{ca}\""))), Ok(()));
    assert!(server.mails()[0].encrypted);
    let server = MailServer::start(Manner::Plain, None);
    assert_eq!(deliver(&mail(&server, "tls = \"none\"")), Ok(()));
    assert!(!server.mails()[0].encrypted);
}

#[test]
fn mail_is_not_sent_in_clear_because_a_server_offers_no_better() {
    let server = MailServer::start(Manner::Plain, None);
    let what = failure(&mail(&server, &format!("username = \"redstart\"\npassword = \"{SECRET}\"")));
    assert!(what.to_lowercase().contains("starttls"), "{what}");
    assert!(server.mails().is_empty() && !server.said_in_clear().contains("AUTH"));
}

#[test]
fn mail_failures_say_what_the_server_said() {
    let identity = Arc::new(Identity::new("localhost"));
    let server = MailServer::start(Manner::StartTls, Some(&identity));
    let what = failure(&mail(&server, ""));
    assert!(what.contains("certificate"), "{what}");

    let server = MailServer::start(Manner::Refuse, None);
    let what = failure(&mail(&server, "tls = \"none\""));
    assert!(what.contains("550") || what.contains("no such user"), "{what}");

    let server = MailServer::start(Manner::Hang, None);
    let begun = Instant::now();
    let what = failure(&mail(&server, "tls = \"none\""));
    assert!(begun.elapsed() < Duration::from_secs(5), "{what}");

    let port = nobody().port();
    let what = failure(&config(&format!(
        "type = \"smtp\"\nserver = \"127.0.0.1\"\nport = {port}\nfrom = \"r@example.org\"\ntls = \"none\""
    )));
    assert!(what.contains("refused"), "{what}");
}

fn program(folder: &Folder, script: &str) -> Config {
    let path = folder.write("script", script);
    config(&format!("type = \"exec\"\ncommand = [\"/bin/sh\", \"{path}\", \"a b; exit 9\"]"))
}

#[test]
fn a_program_gets_the_record_and_its_exit_code_decides() {
    let folder = Folder::new();
    let out = folder.0.join("out").display().to_string();
    let script = format!("cat > {out}\nprintf '%s' \"$1|$REDSTART_PERSON|$REDSTART_KIND\" > {out}.args\n");
    assert_eq!(deliver(&program(&folder, &script)), Ok(()));
    let got: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!((&got["task"], &got["person_name"]), (&"report".into(), &"Ada Lovelace".into()));
    assert_eq!(std::fs::read_to_string(format!("{out}.args")).unwrap(), "a b; exit 9|ada|busy");

    let what = failure(&program(&folder, "echo pager is down >&2; exit 3"));
    assert!(what.contains("exit code 3, said \"pager is down\""), "{what}");
    assert!(failure(&program(&folder, "kill -9 $$")).contains("ended by signal 9"));
    let what = failure(&config("type = \"exec\"\ncommand = [\"/nowhere/pager\"]"));
    assert!(what.contains("/nowhere/pager: No such file"), "{what}");
}

#[test]
fn a_program_that_hangs_is_killed_with_all_it_started() {
    let folder = Folder::new();
    let pid = folder.0.join("pid").display().to_string();
    let begun = Instant::now();
    let what =
        failure(&program(&folder, &format!("sh -c 'trap \"\" TERM; sleep 60' &\necho $! > {pid}\nwait")));
    assert!(
        what.contains("took too long and was killed") && begun.elapsed() < Duration::from_secs(5),
        "{what}"
    );
    let grandchild: u32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while alive() {
        assert!(Instant::now() < deadline, "the grandchild lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
