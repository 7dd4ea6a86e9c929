//! Each line gives a command, or an error that says what is wrong.

use super::list::COMMANDS;
use super::*;

fn option(name: &str) -> &'static Row {
    options().find(|row| row.name == name).expect("an option")
}

fn word(text: &str, quoted: bool) -> Word {
    Word { text: text.into(), quoted }
}

#[test]
fn names_may_be_shortened() {
    for (line, command) in [
        ("", Command::Next(1)),
        ("n", Command::Next(1)),
        ("next 3", Command::Next(3)),
        ("ne", Command::Next(1)),
        ("b 2", Command::Block(2)),
        ("back", Command::Back(1)),
        ("k token", Command::BackToken(1)),
        ("back token 3", Command::BackToken(3)),
        ("back h.0.ln_1", Command::BackTo("h.0.ln_1".into())),
        ("res", Command::Restart),
        ("run *.mlp.act", Command::Run("*.mlp.act".into())),
        ("a 1 2", Command::Attention(vec![1, 2])),
        ("force 77", Command::Force(word("77", false))),
        ("f \"77\"", Command::Force(word("77", true))),
        (r#"force " a\n\"b\\""#, Command::Force(word(" a\n\"b\\", true))),
        ("temperature 0.5", Command::Set(Some((option("temperature"), "0.5".into())))),
        ("set top-k off", Command::Set(Some((option("top-k"), "off".into())))),
        ("ablate head 3 1", Command::Ablate(Some(Edit::Head { block: 3, head: 1 }))),
        ("ablate mlp 0", Command::Ablate(Some(Edit::Mlp { block: 0 }))),
        ("?", Command::Help(None)),
        ("help p", Command::Help(Some("print"))),
        ("help ?", Command::Help(Some("help"))),
        ("help temperature", Command::Help(Some("set"))),
    ] {
        assert_eq!(parse(line), Ok(command), "{line}");
    }
    let print = Print { stage: Some("lm_head".into()), rows: Some(2..=4), top: Some(5), ..Print::default() };
    assert_eq!(parse("p lm_head rows 2-4 top 5"), Ok(Command::Print(print)));
    assert!(help(None).lines().all(|line| line.len() <= 100));
    let one = help(Some("print"));
    assert!(one.contains("print numbers of a stage") && one.lines().count() == 2, "{one}");
}

#[test]
fn every_command_is_in_the_help_with_its_abbreviation() {
    let help = help(None);
    let mut shorts = Vec::new();
    for (name, short, _, about) in &COMMANDS {
        assert_eq!(full_name(name), Ok(*name));
        let names = if short.is_empty() { name.to_string() } else { format!("{name}, {short}") };
        assert!(
            help.lines().any(|line| line.starts_with(format!("  {names:<15}").trim_end()))
                && help.contains(about),
            "{name}"
        );
        if !short.is_empty() {
            assert_eq!(full_name(short), Ok(*name));
            assert!(!shorts.contains(short), "{short} is two commands");
            shorts.push(short);
        }
    }
}

#[test]
fn errors_name_the_problem() {
    for (line, part) in [
        ("walk", "no command \"walk\""),
        ("\"\"", "is ambiguous: next or block"),
        ("he", "\"he\" is ambiguous: heads or help"),
        ("next 0", "nothing"),
        ("next x", "\"x\" is not a number"),
        ("next 1 2", "one number"),
        ("next -1", "not a number"),
        ("next 99999999999999999999999", "not a number"),
        ("run", "name of a stage"),
        ("force", "a token"),
        ("force \"x", "not closed"),
        ("force \"\\q\"", "after \\"),
        ("print rows", "rows needs"),
        ("print rows 4-2", "3-7"),
        ("print a b", "print takes"),
        ("attention", "a head"),
        ("attention 1 2 3", "a head"),
        ("attention x", "\"x\""),
        ("set heat 3", "no option \"heat\""),
        ("temperature", "needs one value"),
        ("ablate", "ablate needs"),
        ("ablate head 1", "ablate needs"),
        ("ablate head x 1", "\"x\""),
        ("quit now", "takes no arguments"),
        ("\u{1f600}", "no command"),
    ] {
        match parse(line) {
            Err(error) => assert!(error.contains(part), "{line}: {error}"),
            Ok(command) => panic!("{line}: {command:?}"),
        }
    }
}

proptest::proptest! {
    #![proptest_config(crate::properties::config())]
    #[test]
    fn no_line_panics(line in ".{0,60}") {
        let _ = parse(&line);
    }
}
