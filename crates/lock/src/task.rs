//! What is known of the task that a lock is for; servers and failure records show it.

use std::collections::BTreeMap;

/// A task's name and whatever else a person may want to know of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskInfo {
    /// The task's name.
    pub name: String,
    /// Anything else; do not put secrets here, everyone who may read the lock can read this.
    pub details: BTreeMap<String, String>,
}

impl TaskInfo {
    /// Returns the information that a task has this name.
    pub fn new(name: impl Into<String>) -> TaskInfo {
        TaskInfo { name: name.into(), details: BTreeMap::new() }
    }

    /// Adds one more thing to know.
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> TaskInfo {
        self.details.insert(name.into(), value.into());
        self
    }

    /// Returns it as a JSON object.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"task\":");
        quote(&self.name, &mut json);
        for (name, value) in &self.details {
            json.push(',');
            quote(name, &mut json);
            json.push(':');
            quote(value, &mut json);
        }
        json.push('}');
        json
    }
}

impl<T: Into<String>> From<T> for TaskInfo {
    fn from(name: T) -> TaskInfo {
        TaskInfo::new(name)
    }
}

fn quote(text: &str, json: &mut String) {
    json.push('"');
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            letter if u32::from(letter) < 0x20 => json.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => json.push(letter),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_becomes_json_whatever_it_holds() {
        let task = TaskInfo::new("a \"b\"\\\n").detail("run", "7");
        assert_eq!(task.to_json(), r#"{"task":"a \"b\"\\\u000a","run":"7"}"#);
    }
}
