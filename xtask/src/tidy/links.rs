//! Relative links of the Markdown files at the root and under docs/ lead to files that exist, and to headings that
//! exist where they name one. Source: house rules, "Gate before every push".

use std::collections::BTreeSet;

use super::tree::has_ending;
use super::{Finding, Tree};

const RULE: &str = "links";

/// Follows every relative link.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| is_document(path)) {
        for (target, line) in links_of(text) {
            if let Some(what) = broken(tree, path, &target) {
                findings.push(Finding::new(RULE, path, line, what));
            }
        }
    }
    findings
}

fn is_document(path: &str) -> bool {
    has_ending(path, "md") && (!path.contains('/') || path.starts_with("docs/"))
}

fn broken(tree: &Tree, from: &str, target: &str) -> Option<String> {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, to)| (file, Some(to)));
    let path = if file.is_empty() { from.to_owned() } else { resolve(from, file) };
    if !tree.paths.contains(&path) && !path.is_empty() {
        return Some(format!("{target} leads to {path}, which does not exist"));
    }
    let (heading, text) = (heading?, tree.texts.get(&path)?);
    let known = !has_ending(&path, "md") || anchors_of(text).contains(heading);
    (!known).then(|| format!("{target} names a heading that {path} does not have"))
}

/// The path of a link, relative to the workspace.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // A link out of the workspace keeps its dots, and so leads to nothing.
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` and `[name]: target` outside code, without those that name a scheme.
fn links_of(text: &str) -> Vec<(String, usize)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let defined =
            line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        let inline =
            line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in inline.chain(defined) {
            let target = target.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>']);
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((target.to_owned(), number));
            }
        }
    }
    links
}

/// A line without what stands in backticks: every second part, but for a last one that nothing closes.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    let closed = parts.len() % 2 == 1;
    let last = parts.len().saturating_sub(1);
    let prose = parts.iter().enumerate().filter(|(at, _)| at % 2 == 0 || (!closed && *at == last));
    prose.map(|(_, part)| *part).collect()
}

/// The anchors of a document's headings as the usual renderers make them.
fn anchors_of(text: &str) -> BTreeSet<String> {
    let titles = prose(text).filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len() && title.starts_with(' ')).then(|| title.trim())
    });
    let anchor = |title: &str| {
        let lower = title.to_lowercase();
        let kept = lower.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    titles.map(anchor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            (path, text),
            ("ARCHITECTURE.md", "# House\n\n## The `one` flow\n"),
            ("docs/adr/0001-a.md", "# A\n"),
            ("crates/money/src/lib.rs", "//! A.\n"),
        ]);
        check(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        assert_eq!(found("README.md", "a [b](docs/none.md)\nand [c](none) [d](docs)\n"), [1, 2]);
        assert_eq!(found("docs/a.md", "[b](adr/0002-b.md)\n[c]: ../none.md\n"), [1, 2]);
        assert_eq!(found("docs/a.md", "[b](../../outside.md)\n"), [1]);
        assert_eq!(found("README.md", "[b](ARCHITECTURE.md#no-such)\n[c](#nor-this)\n"), [1, 2]);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        assert!(
            found("README.md", "# Top\n[a](ARCHITECTURE.md#the-one-flow) [b](#top) [c](docs/adr/)\n")
                .is_empty()
        );
        assert!(
            found("docs/a.md", "[a](adr/0001-a.md) [b](../crates/money/src/lib.rs \"title\")\n").is_empty()
        );
        assert!(found("docs/a.md", "[a](https://example.org/x) [b](mailto:a@example.org)\n").is_empty());
    }

    #[test]
    fn code_is_not_prose_and_other_folders_are_not_documents() {
        assert!(found("README.md", "```\n[a](none)\n```\n`[a](none)`\n").is_empty());
        assert!(found("vectors/README.md", "[a](none)\n").is_empty());
    }
}
