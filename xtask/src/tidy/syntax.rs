//! Small questions about parsed Rust: what is a test, what are the tokens and on which line, what does a `use`
//! name. Source: house rule 24.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, ImplItem, Item, Meta, TraitItem, UseTree};

/// A token and the line it stands on. A group is its opening bracket, its content, its closing bracket.
pub type Token = (String, usize);

/// Whether attributes make an item a test or part of one: `#[test]`, `#[x::test]`, `#[cfg(test)]`,
/// `#[cfg(all(test, ..))]`. `any(test, ..)` does not: that code is also built into programs.
#[must_use]
pub fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let path = attr.path();
        if path.segments.last().is_some_and(|last| last.ident == "test") {
            return true;
        }
        match &attr.meta {
            Meta::List(list) if path.is_ident("cfg") => asks_for_test(list.tokens.clone()),
            _ => false,
        }
    })
}

fn asks_for_test(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match (token, tokens.get(at.saturating_add(1))) {
        (TokenTree::Ident(word), Some(TokenTree::Group(inner))) => {
            word == "all" && asks_for_test(inner.stream())
        }
        (TokenTree::Ident(word), None | Some(TokenTree::Punct(_))) => word == "test",
        _ => false,
    })
}

/// The items without those that are tests.
#[must_use]
pub fn without_tests(items: &[Item]) -> Vec<Item> {
    items.iter().filter(|item| !is_test(attrs_of(item))).cloned().map(item_without_tests).collect()
}

fn item_without_tests(mut item: Item) -> Item {
    match &mut item {
        Item::Mod(module) => {
            if let Some((_, items)) = &mut module.content {
                *items = without_tests(items);
            }
        }
        Item::Impl(block) => block.items.retain(|item| match item {
            ImplItem::Fn(function) => !is_test(&function.attrs),
            ImplItem::Const(constant) => !is_test(&constant.attrs),
            _ => true,
        }),
        Item::Trait(block) => block.items.retain(|item| match item {
            TraitItem::Fn(function) => !is_test(&function.attrs),
            _ => true,
        }),
        _ => {}
    }
    item
}

fn attrs_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The modules of tests that a file declares and that stand in files of their own: paths without `.rs`.
#[must_use]
pub fn test_modules_of(path: &str, file: &syn::File) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let is_root = matches!(name, "lib" | "main" | "mod");
    let base = if is_root { folder } else { stem };
    let declared = file.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => Some(module),
        _ => None,
    });
    declared
        .map(|module| match path_attribute(&module.attrs) {
            Some(given) => format!("{folder}/{}", given.trim_end_matches(".rs")),
            None => format!("{base}/{}", module.ident),
        })
        .collect()
}

fn path_attribute(attrs: &[Attribute]) -> Option<String> {
    attrs.iter().find(|attr| attr.path().is_ident("path")).and_then(|attr| match &attr.meta {
        Meta::NameValue(pair) => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// All tokens in a row, macros' included.
#[must_use]
pub fn tokens(stream: TokenStream) -> Vec<Token> {
    let mut row = Vec::new();
    flatten(stream, &mut row);
    row
}

fn flatten(stream: TokenStream, row: &mut Vec<Token>) {
    for token in stream {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                row.push((open.to_owned(), group.span_open().start().line));
                flatten(group.stream(), row);
                row.push((close.to_owned(), group.span_close().start().line));
            }
            other => row.push((other.to_string(), other.span().start().line)),
        }
    }
}

/// Where a run of tokens occurs: the index after it, and the line of its beginning.
pub fn runs<'a>(row: &'a [Token], wanted: &'a [&str]) -> impl Iterator<Item = (usize, usize)> + 'a {
    row.windows(wanted.len().max(1)).enumerate().filter_map(move |(at, window)| {
        let same = window.iter().zip(wanted).all(|((token, _), word)| token == word);
        let line = window.first().map_or(0, |(_, line)| *line);
        same.then(|| (at.saturating_add(wanted.len()), line))
    })
}

/// The text of a string literal token, if it is one without escapes.
#[must_use]
pub fn string_of(token: &str) -> Option<&str> {
    token.strip_prefix('"')?.strip_suffix('"')
}

/// Every path that a `use` names, written out: `std::{fs, io::Read}` gives `std::fs` and `std::io::Read`.
#[must_use]
pub fn used_paths(tree: &UseTree) -> Vec<(String, usize)> {
    match tree {
        UseTree::Path(path) => {
            let inner = used_paths(&path.tree).into_iter();
            inner.map(|(rest, line)| (format!("{}::{rest}", path.ident), line)).collect()
        }
        UseTree::Name(name) => vec![(name.ident.to_string(), name.ident.span().start().line)],
        UseTree::Rename(name) => vec![(name.ident.to_string(), name.ident.span().start().line)],
        UseTree::Glob(glob) => vec![("*".to_owned(), glob.star_token.spans[0].start().line)],
        UseTree::Group(group) => group.items.iter().flat_map(used_paths).collect(),
    }
}
