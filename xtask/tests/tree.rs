//! Tidy over the real tree: everything that `cargo xtask check` finds with our own rules is also a test.
//! Source: house rules, "Gate before every push".

use xtask::{root, tidy};

#[test]
fn the_tree_is_tidy() -> Result<(), tidy::TidyError> {
    let findings = tidy::over(&root())?;
    let listed: String = findings.iter().map(|finding| format!("\n  {finding}")).collect();
    assert!(findings.is_empty(), "{} findings:{listed}", findings.len());
    Ok(())
}
