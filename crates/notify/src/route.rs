//! The configuration: which keys are whose, and how their people are reached.
//!
//! ```toml
//! [people.ada]
//! name = "Ada Lovelace"
//! channels = ["ops", "mail"]
//! slack = "U012AB3CD"
//! email = "ada@example.org"
//!
//! [channels.ops]
//! type = "slack"
//! url = "env:SLACK_URL"
//!
//! [[routes]]
//! keys = ["nightly:*"]
//! people = ["ada"]
//! ```
//!
//! The first route whose keys and kinds match decides. All that can be wrong is said when the file is read, with the
//! line in which it stands, and not in the night when somebody should be told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base::glob::glob_match;

use crate::channel::Channel;
use crate::record::{FailureKind, FailureRecord};
pub use crate::toml_table::ConfigError;
use crate::toml_table::{At, Mistake, Table};

/// How long a person is not told again of the same key and kind unless told otherwise.
const WINDOW: Duration = Duration::from_secs(600);

/// Someone who can be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// How they are addressed.
    pub name: String,
    /// The channels over which they are told, all of them each time.
    pub channels: Vec<String>,
    /// Their member id at Slack.
    pub slack: Option<String>,
    /// Their mobile number at DingTalk.
    pub dingtalk: Option<String>,
    /// Their user or open id at Feishu.
    pub feishu: Option<String>,
    /// Their user id at WeCom.
    pub wecom: Option<String>,
    /// Their mobile number at WeCom.
    pub wecom_mobile: Option<String>,
    /// Their address of e-mail.
    pub email: Option<String>,
}

/// A person and a channel: what a record is delivered to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The person's name in the configuration.
    pub person: String,
    /// The channel's name in the configuration.
    pub channel: String,
}

#[derive(Debug)]
struct Route {
    keys: Vec<String>,
    kinds: Vec<FailureKind>,
    people: Vec<String>,
}

/// Who is told of what, and how.
#[derive(Debug, Default)]
pub struct Config {
    people: BTreeMap<String, Person>,
    channels: BTreeMap<String, Channel>,
    routes: Vec<Route>,
    window: Option<Duration>,
}

impl Config {
    /// Reads the configuration from a file.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: path.to_owned(),
            line: None,
            what: error.to_string(),
        })?;
        Config::parse(&text, path)
    }

    /// Reads the configuration from the text of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let read = Table::parse(text, directory).and_then(Config::read);
        read.map_err(|mistake| mistake.in_file(path, text))
    }

    /// Returns a configuration in which nobody is told of anything.
    pub fn empty() -> Config {
        Config::default()
    }

    fn read(mut file: Table<'_>) -> Result<Config, Mistake> {
        let window = match file.table("settings")? {
            None => None,
            Some(mut settings) => {
                let window = settings.duration("window", Duration::ZERO, Duration::from_secs(86_400))?;
                settings.end()?;
                window
            }
        };
        let mut channels = BTreeMap::new();
        for (name, table) in file.tables("channels", "channel")? {
            channels.insert(name, Channel::read(table)?);
        }
        let mut people = BTreeMap::new();
        for (name, table) in file.tables("people", "person")? {
            let person = read_person(&name, table, &channels)?;
            people.insert(name, person);
        }
        let mut routes = Vec::new();
        for table in file.list("routes", "route")? {
            routes.push(read_route(table, &people)?);
        }
        file.end()?;
        Ok(Config { people, channels, routes, window })
    }

    /// Returns how long a person is not told again of the same key and kind.
    pub fn window(&self) -> Duration {
        self.window.unwrap_or(WINDOW)
    }

    /// Returns the person with this name.
    pub fn person(&self, name: &str) -> Option<&Person> {
        self.people.get(name)
    }

    /// Returns the names of all people.
    pub fn people(&self) -> impl Iterator<Item = &str> {
        self.people.keys().map(String::as_str)
    }

    /// Returns the channel with this name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.get(name)
    }

    /// Returns all channels with their names.
    pub fn channels(&self) -> impl Iterator<Item = (&str, &Channel)> {
        self.channels.iter().map(|(name, channel)| (name.as_str(), channel))
    }

    /// Returns the people responsible for a key when this happens to it.
    pub fn people_for(&self, key: &str, kind: FailureKind) -> &[String] {
        let route = self.routes.iter().find(|route| {
            (route.kinds.is_empty() || route.kinds.contains(&kind))
                && route.keys.iter().any(|pattern| glob_match(pattern.as_bytes(), key.as_bytes(), false))
        });
        route.map_or(&[], |route| &route.people)
    }

    /// Returns everyone whom a record goes to, with each of their channels.
    pub fn targets(&self, record: &FailureRecord) -> Vec<Target> {
        self.targets_of(&record.people, &record.key, record.kind)
    }

    pub(crate) fn targets_of(&self, named: &[String], key: &str, kind: FailureKind) -> Vec<Target> {
        let known = |people: &[String]| people.iter().any(|name| self.people.contains_key(name));
        // A name that nobody here has must not mean that nobody is told.
        let people = if known(named) { named } else { self.people_for(key, kind) };
        let mut targets: Vec<Target> = people
            .iter()
            .filter_map(|name| Some((name, self.people.get(name)?)))
            .flat_map(|(name, person)| {
                person
                    .channels
                    .iter()
                    .map(|channel| Target { person: name.clone(), channel: channel.clone() })
            })
            .collect();
        targets.sort();
        targets.dedup();
        targets
    }
}

fn read_person(
    name: &str,
    mut table: Table<'_>,
    channels: &BTreeMap<String, Channel>,
) -> Result<Person, Mistake> {
    let mut text = |entry: &str| table.text(entry).map(|text| text.map(|text| text.value));
    let (slack, dingtalk, feishu) = (text("slack")?, text("dingtalk")?, text("feishu")?);
    let (wecom, wecom_mobile) = (text("wecom")?, text("wecom_mobile")?);
    let shown = text("name")?.unwrap_or_else(|| name.to_owned());
    let email = table.text("email")?;
    if let Some(email) = &email
        && email.value.parse::<lettre::Address>().is_err()
    {
        return Err(email.mistake(format!("{}: `email` is not an address of e-mail", table.name)));
    }
    // These stand in vendors' markup, where anything else could close it.
    for (entry, id) in [("slack", &slack), ("feishu", &feishu)] {
        let plain =
            |id: &String| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !id.as_ref().is_none_or(plain) {
            return Err(table.mistake(format!("`{entry}` is not an id: only letters, digits, `_` and `-`")));
        }
    }
    let used = table.texts("channels")?;
    if used.is_empty() {
        return Err(table.mistake("`channels` is missing: the names of the channels to tell them over"));
    }
    for channel in &used {
        let Some(known) = channels.get(&channel.value) else {
            return Err(channel.mistake(format!("{}: no channel is named `{}`", table.name, channel.value)));
        };
        if known.needs_email() && email.is_none() {
            return Err(channel.mistake(format!("{}: channel `{}` needs `email`", table.name, channel.value)));
        }
    }
    table.end()?;
    let (channels, email) = (values(used), email.map(|email| email.value));
    Ok(Person { name: shown, channels, slack, dingtalk, feishu, wecom, wecom_mobile, email })
}

fn read_route(mut table: Table<'_>, people: &BTreeMap<String, Person>) -> Result<Route, Mistake> {
    let (keys, kinds, told) = (table.texts("keys")?, table.texts("kinds")?, table.texts("people")?);
    if keys.is_empty() {
        return Err(table.mistake("`keys` is missing: patterns such as \"nightly:*\""));
    }
    if told.is_empty() {
        return Err(table.mistake("`people` is missing: the names of those to tell"));
    }
    if let Some(unknown) = told.iter().find(|person| !people.contains_key(&person.value)) {
        return Err(unknown.mistake(format!("{}: no person is named `{}`", table.name, unknown.value)));
    }
    let kind = |text: &At<String>| {
        FailureKind::ALL.into_iter().find(|kind| kind.name() == text.value).ok_or_else(|| {
            let all = FailureKind::ALL.map(FailureKind::name).join(", ");
            text.mistake(format!("{}: there is no kind `{}`; there are {all}", table.name, text.value))
        })
    };
    let kinds = kinds.iter().map(kind).collect::<Result<_, _>>()?;
    table.end()?;
    Ok(Route { keys: values(keys), kinds, people: values(told) })
}

fn values(texts: Vec<At<String>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[settings]
window = "5m"

[people.ada]
name = "Ada Lovelace"
channels = ["ops", "mail"]
slack = "U012AB3CD"
email = "ada@example.org"

[people.bob]
channels = ["ops"]

[channels.ops]
type = "slack"
url = "https://hooks.slack.com/services/T0/B0/hunter2hunter2"

[channels.mail]
type = "smtp"
server = "mail.example.org"
from = "Redstart <redstart@example.org>"
username = "redstart"
password = "hunter2"

[[routes]]
keys = ["nightly:*", "weekly:?"]
kinds = ["busy", "lost"]
people = ["ada"]

[[routes]]
keys = "*"
people = ["bob", "ada"]
"#;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("notify.toml"))
    }

    fn target(person: &str, channel: &str) -> Target {
        Target { person: person.into(), channel: channel.into() }
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.people_for("nightly:report", FailureKind::Busy), ["ada"]);
        assert_eq!(config.people_for("nightly:report", FailureKind::TaskFailed), ["bob", "ada"]);
        assert_eq!(config.people_for("other", FailureKind::Busy), ["bob", "ada"]);
        assert_eq!(config.window(), Duration::from_secs(300));
        let record = FailureRecord::new(FailureKind::Busy, "weekly:1");
        assert_eq!(config.targets(&record), [target("ada", "mail"), target("ada", "ops")]);
        assert_eq!(config.targets(&record.clone().people(["bob"])), [target("bob", "ops")]);
        assert_eq!(
            config.targets(&record.people(["eve"])).len(),
            2,
            "an unknown name falls back to the routes"
        );
        assert!(Config::empty().people_for("k", FailureKind::Busy).is_empty());
    }

    #[test]
    fn nothing_shows_a_secret() {
        let shown = format!("{:?}", parse(GOOD).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_without_values() {
        let with = |old: &str, new: &str| {
            assert!(GOOD.contains(old), "{old}");
            parse(&GOOD.replace(old, new)).unwrap_err().to_string()
        };
        for (old, new, told) in [
            (
                "type = \"slack\"",
                "type = \"slak\"",
                "notify.toml:15: channel `ops`: there is no type `slak`; there are webhook, slack, dingtalk, feishu, wecom, smtp and exec",
            ),
            (
                "channels = [\"ops\"]",
                "channels = [\"opps\"]",
                "notify.toml:12: person `bob`: no channel is named `opps`",
            ),
            (
                "people = [\"bob\", \"ada\"]",
                "people = [\"eve\"]",
                "notify.toml:32: route 2: no person is named `eve`",
            ),
            (
                "\"lost\"]",
                "\"lots\"]",
                "notify.toml:27: route 1: there is no kind `lots`; there are busy, unavailable, lost, task-failed, max-hold, release-unknown",
            ),
            (
                "window = \"5m\"",
                "window = 5",
                "notify.toml:3: `settings`: `window` must be a text that is not empty",
            ),
            (
                "window = \"5m\"",
                "window = \"5 moons\"",
                "notify.toml:3: `settings`: `window` must be a length of time, as \"90s\", \"10m\" or \"500ms\"",
            ),
            ("window = ", "widow = ", "notify.toml:3: `settings`: `widow` means nothing here"),
            (
                "email = \"ada@example.org\"\n",
                "",
                "notify.toml:7: person `ada`: channel `mail` needs `email`",
            ),
            (
                "\"U012AB3CD\"",
                "\"U1>\"",
                "notify.toml:5: person `ada`: `slack` is not an id: only letters, digits, `_` and `-`",
            ),
            (
                "https://hooks",
                "ftp://hooks",
                "notify.toml:16: channel `ops`: `url` must be a URL of http or https",
            ),
            (
                "\"hunter2\"",
                "\"env:NOTIFY_TEST_UNSET\"",
                "notify.toml:23: channel `mail`: `password`: the environment has no NOTIFY_TEST_UNSET",
            ),
            (
                "\"hunter2\"",
                "\"file:/nowhere/pw\"",
                "notify.toml:23: channel `mail`: `password`: /nowhere/pw: No such file or directory (os error 2)",
            ),
            (
                "username = \"redstart\"\n",
                "",
                "notify.toml:18: channel `mail`: `username` and `password` belong together",
            ),
            (
                "from = ",
                "tls = \"none\"\nfrom = ",
                "notify.toml:24: channel `mail`: a password needs TLS; set `tls` to starttls",
            ),
            (
                "from = ",
                "port = 70000\nfrom = ",
                "notify.toml:21: channel `mail`: `port` must be a port, from 1 to 65535",
            ),
            ("server = \"mail.example.org\"\n", "", "notify.toml:18: channel `mail`: `server` is missing"),
            (
                "[[routes]]\nkeys = \"*\"",
                "[[routes]]",
                "notify.toml:30: route 2: `keys` is missing: patterns such as \"nightly:*\"",
            ),
        ] {
            assert_eq!(with(old, new), told);
        }
        // What the TOML reader says of a line must not quote the line.
        let told = with("password = \"hunter2\"", "password = \"hunter2");
        assert!(told.starts_with("notify.toml:23: ") && !told.contains("hunter2"), "{told}");
        assert!(
            Config::load("/nowhere/notify.toml")
                .unwrap_err()
                .to_string()
                .starts_with("/nowhere/notify.toml: No such")
        );
    }

    #[test]
    fn the_example_in_the_documentation_is_right() {
        let example = include_str!("../../../docs/examples/notify.toml");
        let url = "url = \"https://example.org/";
        let settable = example.replace("url = \"env:", url).replace("\"env:", "\"").replace("\"file:", "\"");
        let config = Config::parse(&settable, Path::new("docs/examples/notify.toml")).unwrap();
        assert_eq!(config.channels().count(), 7, "there is one of each type");
        assert_eq!(config.person("ada").unwrap().channels.len(), 7);
        assert_eq!(config.people_for("nightly:x", FailureKind::Lost), ["ada"]);
        assert_eq!(config.people_for("other", FailureKind::Busy), ["grace"]);
        // As it stands it names what has to be set.
        let unset = Config::parse(example, Path::new("docs/examples/notify.toml")).unwrap_err().to_string();
        assert!(unset.contains("the environment has no"), "{unset}");
    }

    #[test]
    fn secrets_may_stand_in_the_environment_or_in_files() {
        let directory = std::env::temp_dir().join(format!("notify-route-{}", crate::Ulid::generate()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("pw"), "from-file\n").unwrap();
        std::fs::write(directory.join("notify.toml"), GOOD.replace("\"hunter2\"", "\"file:pw\"")).unwrap();
        assert!(Config::load(directory.join("notify.toml")).is_ok());
        assert!(parse(&GOOD.replace("\"hunter2\"", "\"env:PATH\"")).is_ok());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
