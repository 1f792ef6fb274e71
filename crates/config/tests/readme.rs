//! The README names every parameter that is refused.

use config::{PARAMS, Support};

#[test]
fn the_readme_names_every_refused_parameter() {
    let readme = include_str!("../../../README.md");
    let missing: Vec<_> = PARAMS
        .iter()
        .filter(|param| matches!(param.support, Support::Refused(_)))
        .filter(|param| !readme.contains(&format!("`{}`", param.name)))
        .map(|param| param.name)
        .collect();
    assert!(missing.is_empty(), "not in README.md: {missing:?}");
}

#[test]
fn the_readme_names_no_working_parameter_as_refused() {
    let readme = include_str!("../../../README.md");
    let list =
        readme.split("<details>").nth(1).and_then(|rest| rest.split("</details>").next()).expect("the list");
    for param in PARAMS.iter().filter(|param| !matches!(param.support, Support::Refused(_))) {
        assert!(
            !list.contains(&format!("`{}`", param.name)),
            "{} works, but the README lists it",
            param.name
        );
    }
}
