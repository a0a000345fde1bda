//! Scripts and messages from a seed.
//!
//! Left out, since the two differ there and both may (or the other one is wrong):
//!
//! * `:regex` beyond what POSIX and linear-time engines share (leftmost-longest against leftmost-first);
//! * the text of HTML: RFC 5173 §5.3 leaves the extraction to each implementation; single words are compared;
//! * `currentdate`: the peer has a clock of its own;
//! * `:index` with several names: the peer counts through all of them, RFC 5260 §6 for each name;
//! * `:count` with `:index`: the peer counts none, RFC 5260 §6 leaves one value;
//! * `:first`: the peer cuts at octets, RFC 5703 §7 at characters; `:upper` beyond US-ASCII: the peer leaves
//!   such letters, RFC 5229 §4.1 speaks of letters;
//! * `body :raw` behind `addheader` or `deleteheader`: the peer then does not find what stands in the body;
//! * a parameter that is absent: the peer matches an empty value, RFC 5703 §4.1 tests values that are there;
//! * a group without addresses: the peer sees an empty address, RFC 5228 §5.1 tests addresses, of which there is none;
//! * the default comparator of `string`: the peer takes `i;octet`, RFC 5228 §2.7.3 `i;ascii-casemap`;
//! * 8-bit octets that are no UTF-8 in header fields: RFC 5228 §2.7.2 does not say.

/// Tests of one script.
pub const TESTS: usize = 12;
/// The reverse-path.
pub const SENDER: &str = "tim+list@sender.example.org";
/// The recipient.
pub const RECIPIENT: &str = "owner+detail@example.com";

/// A script and a message.
pub struct Pair {
    pub script: String,
    pub message: String,
}

/// The pair of a seed: always the same.
pub fn pair(seed: u64) -> Pair {
    let state = seed.wrapping_mul(0xd1b5_4a32_d192_ed03) ^ 0x5bf0_3635_dcd1_d867;
    let mut dice = Dice { state, has_raw: seed.is_multiple_of(2) };
    let message = message(&mut dice);
    let script = script(&mut dice);
    Pair { script, message }
}

/// Random numbers (splitmix64).
struct Dice {
    state: u64,
    /// The script may look at the raw body: it edits no header.
    has_raw: bool,
}

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.roll(of.len())]
    }

    fn is(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }
}

const SUBJECTS: &[&str] = &[
    "Hello World",
    "[list] hello again",
    "=?utf-8?q?Caf=C3=A9_hello?=",
    "=?iso-8859-1?Q?Caf=E9?= =?utf-8?B?aGVsbG8=?=",
    "RE: a*b?c\\d",
    "42",
    "007 agents",
    "folded\r\n  over lines\r\n\thello",
    "",
    "  spaces   around  ",
];
const ADDRESSES: &[&str] = &[
    "tim@example.com",
    "\"Tim Tom\" <tim+tag@Example.COM>",
    "a@one.example, \"B, C\" <b+x+y@two.example>",
    "friends: c@three.example, d@four.example;",
    "(comment) e@five.example (more)",
    "=?utf-8?q?J=C3=B6rg?= <joerg@six.example>",
    "<g@[192.0.2.1]>",
    "\"quoted local\"@seven.example",
];
const DATES: &[&str] = &[
    "Sat, 10 Oct 2009 00:30:04 +0200",
    "1 Jan 2020 23:59:59 -0800",
    "Mon, 29 Feb 2016 12:00:00 +0000 (UTC)",
    "Sun, 31 Dec 2023 23:30:00 +0530",
];
const WORDS: &[&str] = &["hello", "World", "again", "lunch", "tax", "Caf\u{e9}", "42", "list"];

fn message(dice: &mut Dice) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
    add("From", dice.one(ADDRESSES));
    add("To", dice.one(ADDRESSES));
    if dice.is(2) {
        add("Cc", dice.one(ADDRESSES));
    }
    if dice.is(3) {
        add("To", dice.one(ADDRESSES));
    }
    add("Subject", dice.one(SUBJECTS));
    if dice.is(4) {
        add("subject", dice.one(SUBJECTS));
    }
    add("Date", dice.one(DATES));
    if dice.is(2) {
        add("X-Number", dice.one(&["7", "12", "7 apples", "-3", "0012"]));
    }
    if dice.is(3) {
        add("X-Empty", "");
    }
    add("MIME-Version", "1.0");
    let body = entity(dice, 0);
    text + &body
}

/// Fields of a body, an empty line, the body.
fn entity(dice: &mut Dice, depth: usize) -> String {
    let kind = if depth < 3 { dice.roll(7) } else { dice.roll(4) };
    let marked = format!("X-Part: p{}\r\n", dice.roll(3));
    let words = |dice: &mut Dice| format!("{} {}\r\n{}\r\n", dice.one(WORDS), dice.one(WORDS), dice.one(WORDS));
    match kind {
        0 => format!("{marked}\r\n{}", words(dice)),
        1 => {
            let charset = dice.one(&["us-ascii", "utf-8", "UTF-8; format=flowed", "\"utf-8\"; name=\"a b.txt\""]);
            format!("{marked}Content-Type: text/plain; charset={charset}\r\n\r\n{}", words(dice))
        }
        2 => match dice.roll(3) {
            0 => format!(
                "{marked}Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                 hello=20Caf=E9 =\r\nlunch\r\n"
            ),
            1 => format!(
                "{marked}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                 aGVsbG8gQ2Fmw6kgYWdhaW4K\r\n"
            ),
            _ => format!(
                "{marked}Content-Type: application/x-thing; name=thing.exe\r\n\
                 Content-Disposition: attachment; filename=\"the thing.exe\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                 aGVsbG8=\r\n"
            ),
        },
        3 => format!(
            "{marked}Content-Type: text/html\r\n\r\n<p>{}</p>\r\n<b>lunch</b>\r\n",
            dice.one(&["hello", "tax", "again"])
        ),
        4 => format!(
            "{marked}Content-Type: message/rfc822\r\n\r\nSubject: {}\r\nX-Inner: 1\r\n{}",
            dice.one(&["inner", "tax"]),
            entity(dice, depth + 1)
        ),
        _ => {
            let boundary = format!("b{depth}{}", dice.roll(100));
            let sub = dice.one(&["mixed", "alternative", "related"]);
            let mut text = format!("{marked}Content-Type: multipart/{sub}; boundary=\"{boundary}\"\r\n\r\n");
            text.push_str(dice.one(&["", "prologue\r\n", "the prologue\r\n\r\n"]));
            for _ in 0..=dice.roll(3) {
                text.push_str(&format!("--{boundary}\r\n{}", entity(dice, depth + 1)));
            }
            text.push_str(&format!("--{boundary}--\r\n{}", dice.one(&["", "epilogue\r\n"])));
            text
        }
    }
}

/// Told in every `string` test: the peer's default there is `i;octet`, against RFC 5228 §2.7.3.
const CASEMAP: &str = ":comparator \"i;ascii-casemap\"";

const REQUIRE: &str = "require [\"fileinto\", \"envelope\", \"variables\", \"relational\", \"comparator-i;ascii-numeric\", \
\"subaddress\", \"body\", \"mime\", \"foreverypart\", \"extracttext\", \"date\", \"index\", \"imap4flags\", \"copy\", \"reject\", \"regex\", \"editheader\"];\n";

fn script(dice: &mut Dice) -> String {
    let mut text = REQUIRE.to_owned();
    for i in 0..TESTS {
        match dice.roll(8) {
            0 => text.push_str(&format!(
                "foreverypart {{ if {} {{ fileinto \"t{i}\"; {} }} }}\n",
                part_test(dice),
                dice.one(&["", "break;"])
            )),
            1 => text.push_str(&format!(
                "foreverypart {{ extracttext {} \"x\"; if string {CASEMAP} {} \"${{x}}\" \"{}\" {{ fileinto \"t{i}\"; }} }}\n",
                dice.one(&["", ":first 3", ":lower", ":upperfirst"]),
                dice.one(&[":contains", ":matches"]),
                pattern(dice)
            )),
            2 => text.push_str(&format!(
                "if header :matches \"{}\" \"{}\" {{ set {} \"v\" \"${{1}}|${{2}}\"; }} if string {CASEMAP} {} \"${{v}}\" \"{}\" {{ fileinto \"t{i}\"; }}\n",
                field(dice),
                dice.one(&["* *", "*o*", "?*", "*", "[*] *"]),
                dice.one(&["", ":lower", ":upperfirst", ":length", ":quotewildcard"]),
                dice.one(&[":contains", ":matches"]),
                pattern(dice)
            )),
            3 if dice.has_raw => text.push_str(&format!("if {} {{ fileinto \"t{i}\"; }}\n", test(dice, 0))),
            3 if dice.is(2) => text.push_str(&format!(
                "addheader {} \"X-Number\" \"{}\"; if {} {{ fileinto \"t{i}\"; }}\n",
                dice.one(&["", ":last"]),
                dice.one(&["7", "99"]),
                test(dice, 0)
            )),
            3 => text.push_str(&format!(
                "deleteheader {} \"{}\" {}; if {} {{ fileinto \"t{i}\"; }}\n",
                dice.one(&[":index 1 :contains", ":index 1 :last :matches", ":is", ":contains"]),
                dice.one(&["X-Number", "Cc", "subject"]),
                dice.one(&["\"7\"", "\"*\"", "\"hello\""]),
                test(dice, 0)
            )),
            _ => text.push_str(&format!("if {} {{ fileinto \"t{i}\"; }}\n", test(dice, 0))),
        }
    }
    text.push_str(dice.one(&[
        "",
        "keep;\n",
        "discard;\n",
        "redirect \"other@example.net\";\n",
        "redirect :copy \"other@example.net\"; keep;\n",
        "addflag \"\\\\Seen\"; keep;\n",
        "setflag [\"a\", \"\\\\Flagged\"]; fileinto \"flagged\";\n",
        "fileinto :copy \"c\";\n",
        "fileinto :flags \"x y\" \"c\"; stop; discard;\n",
    ]));
    text
}

fn field(dice: &mut Dice) -> &'static str {
    dice.one(&["subject", "Subject", "x-number", "X-Empty", "x-nothing", "to", "date", "content-type", "x-part"])
}

fn pattern(dice: &mut Dice) -> &'static str {
    dice.one(&[
        "hello",
        "*hello*",
        "lunch",
        "*l*",
        "?*",
        "*",
        "",
        "Caf\u{e9}",
        "*caf\u{e9}*",
        "Hello World",
        "*|*",
        "42",
        "*a\\\\*b*",
    ])
}

fn comparator(dice: &mut Dice) -> &'static str {
    dice.one(&["", "", ":comparator \"i;octet\"", ":comparator \"i;ascii-casemap\""])
}

/// Match type, comparator and keys.
fn matching(dice: &mut Dice) -> (String, String) {
    match dice.roll(7) {
        0 => {
            let relation = dice.one(&["gt", "ge", "lt", "le", "eq", "ne"]);
            let number = dice.one(&["0", "1", "2", "3"]);
            (format!(":count \"{relation}\" :comparator \"i;ascii-numeric\""), format!("\"{number}\""))
        }
        1 => {
            let relation = dice.one(&["gt", "ge", "lt", "le", "eq", "ne"]);
            let comparator = dice.one(&["i;ascii-numeric", "i;octet", "i;ascii-casemap"]);
            (
                format!(":value \"{relation}\" :comparator \"{comparator}\""),
                format!("\"{}\"", dice.one(&["7", "42", "hello", ""])),
            )
        }
        2 => {
            let regex = dice.one(&["^hello", "[0-9]+", "hel+o", "a.*b", "^$", "(list|tax)", "example\\\\.com$"]);
            (format!(":regex {}", comparator(dice)), format!("\"{regex}\""))
        }
        kind => {
            let tag = [":is", ":contains", ":matches", ""][kind - 3];
            let second = if dice.is(3) { format!(", \"{}\"", pattern(dice)) } else { String::new() };
            (format!("{tag} {}", comparator(dice)), format!("[\"{}\"{second}]", pattern(dice)))
        }
    }
}

fn addresses(dice: &mut Dice) -> (String, String) {
    let keys = dice.one(&[
        "tim",
        "tim@example.com",
        "*@*.example",
        "example.com",
        "tag",
        "x+y",
        "b",
        "*",
        "joerg",
        "",
        "one.example",
    ]);
    let part = dice.one(&["", ":all", ":localpart", ":domain", ":user", ":detail"]);
    let kind = dice.one(&[":is", ":contains", ":matches"]);
    (format!("{part} {kind} {}", comparator(dice)), format!("\"{keys}\""))
}

/// A test that looks at the part at hand.
fn part_test(dice: &mut Dice) -> String {
    let child = dice.one(&["", ":anychild"]);
    match dice.roll(5) {
        0 => format!(
            "exists :mime {child} \"{}\"",
            dice.one(&["x-part", "content-type", "x-inner", "content-disposition"])
        ),
        1 => format!("header :mime {child} :contains \"x-part\" \"p{}\"", dice.roll(3)),
        2 => {
            let look = dice.one(&[":type", ":subtype", ":contenttype"]);
            let key = dice.one(&["text", "plain", "multipart", "text/html", "rfc822", "mixed", "application/x-thing"]);
            format!("header :mime {child} {look} :is \"content-type\" \"{key}\"")
        }
        3 => {
            let names = dice.one(&["\"charset\"", "\"name\"", "[\"filename\", \"boundary\"]"]);
            let field = dice.one(&["content-type", "content-disposition"]);
            format!(
                "header :mime {child} :param {names} :contains \"{field}\" \"{}\"",
                dice.one(&["utf", "thing", "b1", "a b"])
            )
        }
        _ => format!("header :mime {child} :is \"subject\" \"{}\"", dice.one(&["inner", "tax", "42"])),
    }
}

fn body_test(dice: &mut Dice) -> String {
    let word =
        dice.one(&["hello", "lunch", "tax", "again", "caf\u{e9}", "world", "x-part", "--b", "prologue", "nothing"]);
    match dice.roll(4) {
        0 if dice.has_raw => format!("body :raw :contains {} \"{word}\"", comparator(dice)),
        0 | 1 => format!("body :text :contains \"{word}\""),
        2 => {
            let kind = dice.one(&[
                "text",
                "text/plain",
                "text/html",
                "application",
                "multipart",
                "message/rfc822",
                "multipart/mixed",
                "",
            ]);
            format!("body :content \"{kind}\" {} \"{word}\"", dice.one(&[":contains", ":matches", ":is"]))
        }
        _ => {
            let kind = dice.one(&["text/plain", "text/html", "text", "application/x-thing"]);
            let relation = dice.one(&["eq", "ge", "gt", "lt"]);
            format!(
                "body :content \"{kind}\" :count \"{relation}\" :comparator \"i;ascii-numeric\" \"{}\"",
                dice.roll(3)
            )
        }
    }
}

fn date_test(dice: &mut Dice) -> String {
    let zone = dice.one(&[":originalzone", ":zone \"+0000\"", ":zone \"-0530\"", ":zone \"+0200\""]);
    let (part, key) = match dice.roll(6) {
        0 => ("weekday", dice.one(&["0", "1", "6"])),
        1 => ("hour", dice.one(&["00", "12", "23"])),
        2 => ("date", dice.one(&["2009-10-10", "2009-10-09", "2020-01-02", "2016-02-29"])),
        3 => ("julian", dice.one(&["55113", "58850", "57447", "60309"])),
        4 => ("zone", dice.one(&["+0200", "+0000", "-0800"])),
        _ => ("time", dice.one(&["00:30:04", "12:00:00", "18:00:00"])),
    };
    format!("date {zone} {} \"date\" \"{part}\" \"{key}\"", dice.one(&[":is", ":value \"ge\"", ":contains"]))
}

fn test(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth < 2 { 11 } else { 9 }) {
        0 | 1 => {
            let (tags, keys) = matching(dice);
            if dice.is(3) {
                let index = dice.one(&[":index 1", ":index 2", ":index 1 :last"]);
                if !tags.starts_with(":count") {
                    return format!("header {index} {tags} \"{}\" {keys}", field(dice));
                }
            }
            format!("header {tags} [\"{}\", \"{}\"] {keys}", field(dice), field(dice))
        }
        2 => {
            let (tags, keys) = addresses(dice);
            format!("address {tags} \"{}\" {keys}", dice.one(&["to", "from", "cc", "reply-to"]))
        }
        3 => {
            let (tags, _) = addresses(dice);
            let key = dice.one(&["tim", "list", "owner", "detail", "sender.example.org", "*example*", "example.com"]);
            format!("envelope {tags} \"{}\" \"{key}\"", dice.one(&["from", "to"]))
        }
        4 => format!("exists [\"{}\", \"{}\"]", field(dice), dice.one(&["subject", "cc", "x-empty"])),
        5 => format!("size {} {}", dice.one(&[":over", ":under"]), dice.one(&["300", "600", "1K", "100"])),
        6 => body_test(dice),
        7 => part_test(dice),
        8 => date_test(dice),
        9 => format!("not {}", test(dice, depth + 1)),
        _ => {
            let all = dice.one(&["allof", "anyof"]);
            format!("{all} ({}, {})", test(dice, depth + 1), test(dice, depth + 1))
        }
    }
}
