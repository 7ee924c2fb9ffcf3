//! Every refusal slug of the code is a heading of docs/problems.md, and every heading there is used. Slugs are
//! the first argument of `Refusal::new`, a field `slug: ".."`, strings in match arms of a `fn slug`, and, in files named
//! refusal.rs, in all match arms those that look like slugs. Source: house rules 12 and 24.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit::{self, Visit};

use super::syntax::{self, Token};
use super::tree::Source;
use super::{Finding, Tree};

const RULE: &str = "slugs";

/// Where the slugs are documented.
pub const PROBLEMS: &str = "docs/problems.md";

/// Compares code and document, both ways.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let code: Vec<&Source> = tree.sources.iter().filter(|source| is_ours(&source.path)).collect();
    let documented = tree.texts.get(PROBLEMS).map(|text| headings(text)).unwrap_or_default();
    let mut findings = Vec::new();
    for source in &code {
        for (slug, line) in slugs_of(source) {
            if !documented.contains_key(&slug) {
                let what = format!("`{slug}` has no heading in {PROBLEMS}");
                findings.push(Finding::new(RULE, &source.path, line, what));
            }
        }
    }
    let strings: BTreeSet<String> = code.iter().flat_map(|source| strings_of(source)).collect();
    for (slug, line) in documented {
        if !strings.contains(&slug) {
            findings.push(Finding::new(RULE, PROBLEMS, line, format!("`{slug}` is used nowhere")));
        }
    }
    findings
}

fn is_ours(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/")
}

/// Lower-case words joined by single hyphens.
fn is_slug(text: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.split('-').all(word)
}

/// The headings of levels 2 to 4 that are a slug, plain or in backticks, with their lines.
fn headings(text: &str) -> BTreeMap<String, usize> {
    let numbered = (1..).zip(text.lines());
    let slug = |line: &str| {
        let title = ["## ", "### ", "#### "].iter().find_map(|mark| line.strip_prefix(mark))?.trim();
        let title = title.strip_prefix('`').and_then(|title| title.strip_suffix('`')).unwrap_or(title);
        is_slug(title).then(|| title.to_owned())
    };
    numbered.filter_map(|(number, line)| Some((slug(line)?, number))).collect()
}

fn slugs_of(source: &Source) -> BTreeSet<(String, usize)> {
    let mut found = BTreeSet::new();
    for item in &source.code {
        let row = row_of(item.to_token_stream());
        for run in [&["Refusal", ":", ":", "new", "("][..], &["slug", ":"]] {
            for (after, _) in syntax::runs(&row, run) {
                found.extend(row.get(after).and_then(string_at));
            }
        }
        let mut arms = Arms { everywhere: source.path.ends_with("/refusal.rs"), ..Arms::default() };
        arms.visit_item(item);
        found.extend(arms.found);
    }
    found
}

fn strings_of(source: &Source) -> BTreeSet<String> {
    let rows = source.code.iter().map(|item| row_of(item.to_token_stream()));
    rows.flat_map(|row| row.iter().filter_map(string_at).map(|(text, _)| text).collect::<Vec<_>>()).collect()
}

fn row_of(stream: TokenStream) -> Vec<Token> {
    syntax::tokens(stream)
}

fn string_at(token: &Token) -> Option<(String, usize)> {
    syntax::string_of(&token.0).map(|text| (text.to_owned(), token.1))
}

/// The strings in match arms; `fn slug` may have slugs of one word.
#[derive(Default)]
struct Arms {
    everywhere: bool,
    in_slug_fn: bool,
    found: BTreeSet<(String, usize)>,
}

impl<'ast> Visit<'ast> for Arms {
    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.in_slug_fn = function.sig.ident == "slug";
        visit::visit_impl_item_fn(self, function);
        self.in_slug_fn = false;
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.in_slug_fn = function.sig.ident == "slug";
        visit::visit_item_fn(self, function);
        self.in_slug_fn = false;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let strings = row_of(arm.body.to_token_stream()).iter().filter_map(string_at).collect::<Vec<_>>();
        let wanted =
            |text: &str| is_slug(text) && (self.in_slug_fn || (self.everywhere && text.contains('-')));
        let slugs: Vec<_> = strings.into_iter().filter(|(text, _)| wanted(text)).collect();
        self.found.extend(slugs);
        visit::visit_arm(self, arm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_slug_without_a_heading_is_found_wherever_it_is_made() {
        let undocumented = |path: &str, text: &str| found(&[(path, text), (PROBLEMS, "# Problems\n")]);
        for text in [
            "const A: Refusal = Refusal::new(\"not-enrolled\", Class::Denied, Blame::Asker, false);",
            "fn f() { vec![rail::Refusal::new(\"busy\", x)]; }",
            "fn f() { Problem { slug: \"busy\", status: 503 } }",
        ] {
            assert_eq!(undocumented("crates/http/src/limits.rs", text).len(), 1, "{text}");
        }
        let arms = "impl A { fn slug(&self) -> &str { match self { Self::B => \"busy\", Self::C => \"not-yet\" } } }";
        assert_eq!(
            undocumented("crates/rails/coin/src/refusal.rs", arms),
            [
                "crates/rails/coin/src/refusal.rs:1: slugs: `busy` has no heading in docs/problems.md",
                "crates/rails/coin/src/refusal.rs:1: slugs: `not-yet` has no heading in docs/problems.md",
            ]
        );
        assert_eq!(
            undocumented("crates/operator/src/standing.rs", arms).len(),
            2,
            "wherever the function is"
        );
        let row =
            "fn row(&self) -> R { match self { Self::B => (\"coin-spent\", Class::Conflict, \"paid\") } }";
        assert_eq!(undocumented("crates/parties/src/refusal.rs", row).len(), 1);
        assert!(undocumented("crates/parties/src/other.rs", row).is_empty());
    }

    #[test]
    fn a_heading_that_nothing_uses_is_found() {
        let code = "fn f() { Refusal::new(\"not-yet\", x) }";
        let problems = "# Problems\n\n## Columns of the table\n\n## not-yet\n\n### `coin-of-another-lane`\n";
        assert_eq!(
            found(&[("crates/rail/src/lib.rs", code), (PROBLEMS, problems)]),
            ["docs/problems.md:7: slugs: `coin-of-another-lane` is used nowhere"]
        );
    }

    #[test]
    fn what_agrees_passes_and_tests_do_not_count() {
        let code = "fn f() { deny(\"payment-denied\"); Refusal::new(\"not-yet\", x) }
            #[cfg(test)] mod tests { fn g() { Refusal::new(\"made-up\", x) } }";
        let problems = "## not-yet\n## payment-denied\n";
        assert!(found(&[("crates/rail/src/lib.rs", code), (PROBLEMS, problems)]).is_empty());
    }

    #[test]
    fn without_the_document_every_slug_is_found() {
        assert_eq!(found(&[("crates/rail/src/lib.rs", "fn f() { Refusal::new(\"not-yet\", x) }")]).len(), 1);
    }
}
