//! Small rooms: a file has at most 500 lines, a function at most 70 from its `fn` to its closing brace. Tests
//! are exempt from the second. Source: house rule 24.

use proc_macro2::Span;
use syn::visit::{self, Visit};

use super::{Finding, Tree};

const RULE: &str = "sizes";

/// The most lines of a file.
pub const FILE_LINES_MAX: usize = 500;

/// The most lines of a function.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Measures every file and every function.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let lines = tree.texts.get(&source.path).map_or(0, |text| text.lines().count());
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines, at most {FILE_LINES_MAX}: split it by concern");
            findings.push(Finding::new(RULE, &source.path, 0, what));
        }
        if let Err(error) = &source.whole {
            findings.push(Finding::new(RULE, &source.path, 0, format!("cannot be parsed: {error}")));
        }
        let mut functions = Functions { path: &source.path, findings: &mut findings };
        for item in &source.code {
            functions.visit_item(item);
        }
    }
    findings
}

struct Functions<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let span: Span = signature.fn_token.span;
        let (first, last) = (span.start().line, block.brace_token.span.close().end().line);
        let lines = last.saturating_sub(first).saturating_add(1);
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {} has {lines} lines, at most {FUNCTION_LINES_MAX}", signature.ident);
            self.findings.push(Finding::new(RULE, self.path, first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    /// A function of so many lines in all.
    fn function(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines.saturating_sub(2)))
    }

    #[test]
    fn a_long_file_is_found_also_when_it_is_a_test() {
        let lines = |n: usize| "// a\n".repeat(n);
        assert!(found("crates/a/src/lib.rs", &lines(500)).is_empty());
        assert_eq!(
            found("crates/a/tests/x.rs", &lines(501)),
            ["crates/a/tests/x.rs:0: sizes: 501 lines, at most 500: split it by concern"]
        );
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        assert!(found("crates/a/src/lib.rs", &function(70)).is_empty());
        assert_eq!(
            found("crates/a/src/lib.rs", &format!("//! A.\n{}", function(71))),
            ["crates/a/src/lib.rs:2: sizes: fn f has 71 lines, at most 70"]
        );
        for (before, after) in [("impl A {\n", "}"), ("trait A {\n", "}"), ("mod m { impl B for A {\n", "}}")]
        {
            assert_eq!(found("crates/a/src/lib.rs", &format!("{before}{}{after}", function(71))).len(), 1);
        }
        // The doc comment above a function does not count.
        let documented = format!("{}{}", "/// a\n".repeat(60), function(70));
        assert!(found("crates/a/src/lib.rs", &documented).is_empty());
    }

    #[test]
    fn tests_may_be_long_functions() {
        let marked = format!("#[cfg(test)] mod tests {{\n#[test]\n{}}}", function(90));
        assert!(found("crates/a/src/lib.rs", &marked).is_empty());
        assert!(found("crates/a/tests/x.rs", &function(90)).is_empty());
    }

    #[test]
    fn what_is_not_rust_is_found() {
        assert_eq!(found("crates/a/src/lib.rs", "fn f( {").len(), 1);
    }
}
