//! Canonical JSON: one sequence of bytes for a value, so that it can be hashed and signed.
//! Source: RFC 8785 (keys by UTF-16 code units, no white space, strings as `JSON.stringify` writes them).
//! Departs: numbers other than integers that every reader can hold (up to 2^53 - 1) are refused.

use serde_json::Value;

/// The largest integer that every JSON reader holds exactly.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Why a value has no canonical form here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JcsError {
    /// A number with a fraction or an exponent, or beyond 2^53 - 1.
    #[error("only integers up to 2^53 - 1 have a canonical form here")]
    Number,
}

/// The canonical bytes of a value.
///
/// # Errors
/// `Number`.
pub fn jcs(value: &Value) -> Result<Vec<u8>, JcsError> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out.into_bytes())
}

fn write(value: &Value, out: &mut String) -> Result<(), JcsError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_none_or(|n| n > INTEGER_MAX) {
                return Err(JcsError::Number);
            }
            out.push_str(&number.to_string());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (i, (name, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write(member, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// serde_json escapes exactly what `JSON.stringify` does: quote, backslash and control characters, in lower case.
fn write_string(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        String::from_utf8(jcs(value).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_sorted_by_utf16_and_nothing_is_added() {
        // RFC 8785 §3.2.3: the emoji (a surrogate pair) sorts before U+FB33.
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        let order = ["Carriage Return", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"];
        let text = text(&value);
        let places: Vec<usize> = order.iter().map(|word| text.find(word).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn strings_are_escaped_as_javascript_does() {
        let value = json!("\u{20ac}$\u{f}\nA'\u{42}\"\\\\\"/\u{7f}\u{2028}");
        assert_eq!(text(&value), "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\u{2028}\"");
    }

    #[test]
    fn integers_stand_and_other_numbers_are_refused() {
        let value: Value = serde_json::from_str("[ 0, -1, 9007199254740991 , true, null, {} ]").unwrap();
        assert_eq!(text(&value), "[0,-1,9007199254740991,true,null,{}]");
        for bad in
            ["1.5", "1.0", "-0", "1e3", "9007199254740992", "-9007199254740992", "18446744073709551615"]
        {
            let value: Value = serde_json::from_str(&format!("{{\"a\":[{bad}]}}")).unwrap();
            assert_eq!(jcs(&value), Err(JcsError::Number), "{bad}");
        }
    }

    #[test]
    fn the_order_in_which_it_was_written_does_not_matter() {
        let a: Value = serde_json::from_str(r#"{"b":{"y":1,"x":2},"a":"1"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "a" : "1", "b" : { "x":2, "y":1 } }"#).unwrap();
        assert_eq!(text(&a), r#"{"a":"1","b":{"x":2,"y":1}}"#);
        assert_eq!(jcs(&a), jcs(&b));
    }
}
