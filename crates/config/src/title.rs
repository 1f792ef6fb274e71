//! proc-title-template: what `ps` shows of the server, with `{variables}` filled in.

/// The variables that a template may name.
const VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

/// Fills in the template's `{variables}`, or returns None when it is malformed or names one that `value_of` lacks.
///
/// `{{` stands for a brace; blanks at both ends are dropped.
pub fn expand_title(template: &str, mut value_of: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut title = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        title.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(tail) = rest.strip_prefix('{') {
            title.push('{');
            rest = tail;
            continue;
        }
        let end = rest.find('}')?;
        title.push_str(&value_of(&rest[..end])?);
        rest = &rest[end + 1..];
    }
    title.push_str(rest);
    Some(title.trim_matches(' ').to_owned())
}

/// Says whether the template names only known variables and shows something even without a title.
pub(crate) fn is_valid(template: &str) -> bool {
    let title = expand_title(template, |name| {
        let shown = !matches!(name, "title" | "server-mode" | "unixsocket");
        VARIABLES.contains(&name).then(|| if shown { "1".to_owned() } else { String::new() })
    });
    title.is_some_and(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_doubled_braces_are_braces() {
        let value_of = |name: &str| match name {
            "title" => Some("redis-server".to_owned()),
            "listen-addr" => Some("*:6379".to_owned()),
            "server-mode" => Some(String::new()),
            _ => None,
        };
        let expand = |template| expand_title(template, value_of);
        assert_eq!(expand("{title} {listen-addr} {server-mode}").as_deref(), Some("redis-server *:6379"));
        assert_eq!(expand("{{title}").as_deref(), Some("{title}"));
        for malformed in ["{", "{title", "{x}", "{}"] {
            assert_eq!(expand(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_template_must_show_something() {
        assert!(is_valid("{title} {port}"));
        assert!(is_valid("x"));
        for template in ["", "  ", "{title}", "{nonsense}", "{"] {
            assert!(!is_valid(template), "{template}");
        }
    }
}
