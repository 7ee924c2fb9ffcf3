//! The page that a person sees who has not paid: no script, nothing from elsewhere, everything escaped.
//! Source: web.md §7 ("a good page"); screens.md (CSP, accessibility).

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderValue, header};

/// A page has at most so many bytes.
pub const PAGE_BYTES_MAX: usize = 20 * 1024;

/// What the page says.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Who sells.
    pub merchant: &'a str,
    /// Who issues the coins.
    pub operator: &'a str,
    /// Whether the coins are worth nothing.
    pub test: bool,
    /// The price, such as `0.05 FLO`.
    pub price: &'a str,
    /// What is sold, if its owner said so.
    pub description: Option<&'a str>,
    /// The URL, as the payer sees it.
    pub url: &'a str,
    /// What to type.
    pub command: &'a str,
    /// Why what was sent did not pay.
    pub error: Option<&'a str>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fbfaf7;--fg:#1b1b1f;--soft:#57575f;--line:#d9d6cc;--card:#fff;--mark:#0b5d3b}\
@media(prefers-color-scheme:dark){:root{--bg:#141517;--fg:#ececea;--soft:#b3b3ad;--line:#3a3b40;--card:#1d1e21;--mark:#7bd8a8}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--bg);color:var(--fg);font:1rem/1.55 system-ui,sans-serif;overflow-wrap:anywhere}\
main{max-width:38rem;margin:0 auto;padding:1.5rem 1rem 3rem}\
h1{font-size:1.35rem;line-height:1.3;margin:.2rem 0 1rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}\
p{margin:.4rem 0}.soft{color:var(--soft)}\
.price{font-size:2.4rem;font-weight:650;line-height:1.1;margin:.6rem 0;color:var(--mark)}\
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.1rem;margin:1rem 0}\
pre{margin:.5rem 0;padding:.8rem;border:1px solid var(--line);border-radius:.4rem;background:var(--bg);white-space:pre-wrap}\
code,pre{font-family:ui-monospace,monospace;font-size:.95rem}dl{margin:0}dt{color:var(--soft)}dd{margin:0 0 .6rem}\
.note{border-left:.3rem solid var(--mark);padding-left:.8rem}\
a{color:inherit}a:focus-visible,pre:focus-visible{outline:.2rem solid var(--mark);outline-offset:.15rem}";

impl Page<'_> {
    /// The page; `nonce` is the one that its content security policy names.
    #[must_use]
    pub fn html(&self, nonce: &str) -> String {
        let merchant = escape(self.merchant, 80);
        let price = escape(self.price, 64);
        let mut out = String::with_capacity(8 * 1024);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{price} to read on: {merchant}</title>\n\
             <style nonce=\"{nonce}\">{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <p class=\"soft\">{merchant}</p>\n<h1>This page costs {price}</h1>\n"
        );
        if let Some(error) = self.error {
            let _ = writeln!(
                out,
                "<p class=\"note\" role=\"alert\"><strong>The payment that was sent did not pay for this page:</strong> \
                 {}</p>",
                escape(error, 120)
            );
        }
        self.card(&mut out, &merchant, &price);
        let _ = write!(
            out,
            "<h2>How to pay</h2>\n<p>With your Florin wallet, in a terminal:</p>\n\
             <pre tabindex=\"0\" aria-label=\"Command\"><code>{}</code></pre>\n\
             <p>The wallet shows the price again, pays with private coins and saves the page. No account here is needed, \
             and the seller does not learn who you are.</p>\n\
             <h2>If something fails</h2>\n\
             <p>A payment happens whole or not at all, and never twice: repeat the same command. If it was refused, your \
             coins are still yours, and the wallet shows the cause to you only. If the page itself fails after you have \
             paid, the same command gets it again for a while, and the wallet holds a signed receipt.</p>\n\
             </main>\n</body>\n</html>\n",
            escape(self.command, 1100)
        );
        out
    }

    fn card(&self, out: &mut String, merchant: &str, price: &str) {
        let _ = write!(out, "<div class=\"card\">\n<p class=\"price\">{price}</p>\n<dl>\n");
        if let Some(text) = self.description {
            let _ = writeln!(out, "<dt>What you get</dt><dd>{}</dd>", escape(text, 300));
        }
        let _ = write!(
            out,
            "<dt>Page</dt><dd>{}</dd>\n<dt>Sold by</dt><dd>{merchant}</dd>\n<dt>Paid with coins of</dt><dd>{}</dd>\n</dl>\n",
            escape(self.url, 600),
            escape(self.operator, 80),
        );
        if self.test {
            out.push_str("<p class=\"note\">These are test coins: they are worth nothing.</p>\n");
        }
        out.push_str("</div>\n");
    }
}

/// Text as it may stand in HTML, cut after so many characters.
fn escape(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, c) in text.chars().enumerate() {
        if i == max {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Neither control characters nor those that turn the direction of writing around.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// Adds what a page of ours says about itself.
pub(crate) fn policy(headers: &mut HeaderMap, nonce: &str) {
    let csp = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let csp = HeaderValue::from_str(&csp).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    for (name, value) in [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, csp),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
    ] {
        headers.insert(name, value);
    }
}

/// Whether the asker is a browser: `Accept` names `text/html` and does not refuse it.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = |p: &str| {
            let weight = p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="));
            weight.is_some_and(|w| w.bytes().all(|b| b == b'0' || b == b'.'))
        };
        html && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='x'>&\u{202e}\r\n";

    fn page(text: &str) -> Page<'_> {
        Page {
            merchant: text,
            operator: text,
            test: true,
            price: "0.05 FLO",
            description: Some(text),
            url: text,
            command: text,
            error: Some(text),
        }
    }

    #[test]
    fn nothing_on_the_page_can_run_or_lead_elsewhere() {
        let html = page(HOSTILE).html("abc");
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("onerror='"), "{html}");
        assert!(html.contains("&lt;script&gt;") && !html.contains('\u{202e}') && !html.contains('\r'));
        for elsewhere in ["http://", "https://", "src=", "url(", "@import", "href="] {
            assert!(!page("Shop").html("abc").contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn it_is_small_whatever_it_says() {
        let long = "\"".repeat(100_000);
        let html = page(&long).html("abc");
        assert!(html.len() < PAGE_BYTES_MAX, "{}", html.len());
        assert!(page("Shop").html("abc").len() < 8 * 1024);
    }

    #[test]
    fn it_says_price_seller_operator_and_how_to_pay() {
        let page = Page {
            merchant: "Corner shop",
            operator: "Town mint",
            test: false,
            price: "0.05 FLO",
            description: None,
            url: "http://127.0.0.1:7410/a?b=1&c=2",
            command: "florin wallet pay 'http://127.0.0.1:7410/a?b=1&c=2'",
            error: None,
        };
        let html = page.html("n0nce");
        for part in [
            "<h1>This page costs 0.05 FLO</h1>",
            "Corner shop",
            "Town mint",
            "florin wallet pay &#39;http://127.0.0.1:7410/a?b=1&amp;c=2&#39;",
            "<style nonce=\"n0nce\">",
            "<html lang=\"en\">",
            "noindex",
            "If something fails",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("test coins") && !html.contains("role=\"alert\""));
    }

    #[test]
    fn only_who_asks_for_html_gets_it() {
        let wants = |accept: &str| {
            wants_html(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]))
        };
        assert!(wants("text/html,application/xhtml+xml,*/*;q=0.8") && wants("a/b, TEXT/HTML;q=0.1"));
        for no in ["*/*", "application/json", "text/html;q=0", "text/html; q=0.000", "text/*", "text/htmlx"] {
            assert!(!wants(no), "{no}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
