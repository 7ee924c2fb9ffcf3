//! What rules say, and that no way of writing a request makes it cheaper.

use super::*;

fn payable() -> Payable {
    Payable::new(vec![Denominations::one_two_five(Currency::FLO, 24)], 32)
}

fn rules(text: &str, default: Option<&str>) -> Rules {
    Rules::parse(text, default, &payable()).unwrap()
}

fn price(rules: &Rules, method: &str, path: &str) -> String {
    let path = CleanPath::parse(path).unwrap();
    let rule = rules.rule(&Method::from_bytes(method.as_bytes()).unwrap(), &path);
    rule.price.map_or_else(|| "free".to_owned(), |price| price.to_string())
}

const SHOP: &str = r#"
    [[rule]]
    path = "/articles/*"
    methods = ["GET"]
    price = "0.05 FLO"
    description = "An article"
    [[rule]]
    path = "/static/**"
    free = true
    [[rule]]
    path = "/api/**/report-*.pdf"
    price = "1 FLO"
    [[rule]]
    path = "/"
    free = true
"#;

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = rules(SHOP, Some("0.01 FLO"));
    for (method, path, expected) in [
        ("GET", "/articles/one", "0.05 FLO"),
        ("POST", "/articles/one", "0.01 FLO"),
        ("GET", "/articles/one/two", "0.01 FLO"),
        ("GET", "/articles", "0.01 FLO"),
        ("GET", "/static", "free"),
        ("GET", "/static/a/b.css", "free"),
        ("GET", "/api/report-1.pdf", "1.00 FLO"),
        ("PUT", "/api/a/b/report-.pdf", "1.00 FLO"),
        ("GET", "/api/a/report-1.txt", "0.01 FLO"),
        ("GET", "/", "free"),
        ("GET", "/index.html", "0.01 FLO"),
    ] {
        assert_eq!(price(&rules, method, path), expected, "{method} {path}");
    }
    let later = "[[rule]]\npath = \"/a/**\"\nfree = true\n[[rule]]\npath = \"/a/b\"\nprice = \"1 FLO\"";
    assert_eq!(price(&self::rules(later, None), "GET", "/a/b"), "free");
}

#[test]
fn no_way_of_writing_it_makes_it_cheaper() {
    let rules = rules(SHOP, None);
    for path in [
        "/articles/one",
        "//articles//one",
        "/./articles/one",
        "/static/../articles/one",
        "/static/%2e%2e/articles/one",
        "/static/%2E./articles/one",
        "/x/y/../../articles/one",
        "/%61rticles/one",
        "/ARTICLES/one",
        "/Articles/One",
        "/articles/one/",
        "/articles/one//",
        "/articles/one/.",
        "/articles/one;jsessionid=1",
        "/articles;x/one",
        "/;/articles/one",
        "/articles/one%3b",
    ] {
        assert_eq!(price(&rules, "GET", path), "0.05 FLO", "{path}");
    }
    for method in ["HEAD", "head", "get", "Get"] {
        assert_eq!(price(&rules, method, "/articles/one"), "0.05 FLO", "{method}");
    }
    for path in ["/articles%2Fone", "/articles\\one", "/static/..%2farticles/one", "/static/..;/articles/one"]
    {
        assert!(CleanPath::parse(path).is_err(), "{path}");
    }
}

#[test]
fn free_is_only_what_is_written_as_free() {
    let rules = rules(SHOP, Some("0.01 FLO"));
    for path in ["/STATIC/a", "/static;x/a", "/Static", "/staticx", "/static%3b/a"] {
        assert_eq!(price(&rules, "GET", path), "0.01 FLO", "{path}");
    }
    assert_eq!(price(&self::rules("", None), "GET", "/any"), "free");
    assert_eq!(price(&self::rules("", Some("2 FLO")), "GET", "/any"), "2.00 FLO");
}

#[test]
fn a_file_that_says_something_else_is_refused() {
    let of = |text: &str| Rules::parse(text, None, &payable()).unwrap_err();
    let with = |line: &str| of(&format!("[[rule]]\npath = \"/a\"\n{line}"));
    assert!(matches!(of("[[rules]]\npath = \"/a\"\nfree = true"), RulesError::Toml(_)));
    assert!(matches!(of("[[rule]]\nfree = true"), RulesError::Toml(_)));
    assert!(matches!(with("free = true\ncolour = 1"), RulesError::Toml(_)));
    assert!(matches!(with(""), RulesError::PriceOrFree { rule: 1 }));
    assert!(matches!(with("free = true\nprice = \"1 FLO\""), RulesError::PriceOrFree { rule: 1 }));
    assert!(matches!(with("free = false"), RulesError::PriceOrFree { rule: 1 }));
    for bad in ["0.05", "0.05 EUR", "0.005 FLO", "-1 FLO", "1e3 FLO", "1,5 FLO", ""] {
        let found = with(&format!("price = \"{bad}\""));
        assert!(
            matches!(found, RulesError::Price { rule: 1, why: PriceFault::Amount(_), .. }),
            "{bad}: {found}"
        );
    }
    assert!(matches!(with("price = 0.05"), RulesError::Toml(_)));
    assert!(matches!(with("price = \"0 FLO\""), RulesError::Price { why: PriceFault::Zero, .. }));
    let huge = with("price = \"184467440737095516.15 FLO\"");
    assert!(matches!(huge, RulesError::Price { why: PriceFault::NotPayable { max: 32 }, .. }), "{huge}");
    for method in ["HEAD", "OPTIONS", "CONNECT", "G T", ""] {
        let found = with(&format!("free = true\nmethods = [\"{method}\"]"));
        assert!(matches!(found, RulesError::Method { rule: 1, .. }), "{method}");
    }
    for path in ["", "a", "/a**", "/**a", "/***", "/a/../b", "/./a", "/a?b", "/a%2Fb", "/a%"] {
        let found = of(&format!("[[rule]]\npath = \"{path}\"\nfree = true"));
        assert!(matches!(found, RulesError::Pattern { rule: 1, .. }), "{path}: {found}");
    }
    let long = "x".repeat(DESCRIPTION_MAX + 1);
    assert!(matches!(
        with(&format!("free = true\ndescription = \"{long}\"")),
        RulesError::Description { rule: 1 }
    ));
    assert!(matches!(with("free = true\ndescription = \"a\\nb\""), RulesError::Description { rule: 1 }));
    let many = "[[rule]]\npath = \"/a\"\nfree = true\n".repeat(RULES_MAX + 1);
    assert!(matches!(of(&many), RulesError::TooMany));
    assert!(matches!(Rules::parse("", Some("5"), &payable()), Err(RulesError::Price { rule: 0, .. })));
}

#[test]
fn the_table_shows_every_rule_and_what_holds_otherwise() {
    let table = rules(SHOP, Some("0.01 FLO")).table();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 6, "{table}");
    assert!(lines[1].contains("0.05 FLO") && lines[1].contains("GET") && lines[1].ends_with("An article"));
    assert!(lines[2].contains("free") && lines[2].contains("ANY") && lines[2].contains("/static/**"));
    assert!(lines[5].starts_with("else") && lines[5].contains("0.01 FLO"));
    assert_eq!(rules(SHOP, None).all().next().unwrap().label(), "GET /articles/*");
}

#[test]
fn a_rule_says_what_comes_first_or_the_settings_do() {
    let text = "[[rule]]\npath = \"/a\"\nprice = \"0.05 FLO\"\nflow = \"authorization\"\n\
                [[rule]]\npath = \"/b\"\nprice = \"0.05 FLO\"\nflow = \"upfront\"\n\
                [[rule]]\npath = \"/c\"\nprice = \"0.05 FLO\"";
    let flows = |rules: &Rules| rules.all().map(|rule| rule.flow).collect::<Vec<_>>();
    let (money, service) = (Flow::Upfront, Flow::Authorization);
    let rules = rules(text, Some("0.01 FLO"));
    assert_eq!(flows(&rules), [service, money, money, money]);
    assert_eq!(rules.table().matches("(authorization)").count(), 1);
    assert_eq!(flows(&rules.with_flow(service)), [service, money, service, service]);
    let bad = |text: &str| Rules::parse(text, None, &payable()).unwrap_err();
    let free = "[[rule]]\npath = \"/a\"\nfree = true\nflow = \"upfront\"";
    assert!(matches!(bad(free), RulesError::FreeFlow { rule: 1 }));
    assert!(matches!(bad(&text.replace("authorization", "later")), RulesError::Toml(_)));
}

#[test]
fn a_pattern_made_to_be_slow_is_not() {
    let stars = "*a".repeat(40);
    let rules = rules(&format!("[[rule]]\npath = \"/{stars}b/**/**/**/x\"\nfree = true"), None);
    let path = CleanPath::parse(&format!("/{}/{}", "a".repeat(4000), "y/".repeat(1000))).unwrap();
    let began = std::time::Instant::now();
    assert!(rules.rule(&Method::GET, &path).price.is_none());
    assert!(began.elapsed().as_secs() < 2);
}
