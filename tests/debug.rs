//! `gpt2 generate --debug` as users see it: a scripted session, and unusual commands.

mod common;

use assert_cmd::Command;
use common::{Checkpoint, fixture, gpt2};
use gpt2::simd::Simd;
use predicates::prelude::*;
use std::path::Path;
use std::time::Duration;

/// `gpt2 generate --debug` with these arguments, split at spaces, and these commands.
fn debug(arguments: &str, commands: impl Into<Vec<u8>>) -> Command {
    let mut command = gpt2();
    command.arg("generate").arg("--debug").args(arguments.split_whitespace()).write_stdin(commands);
    command.timeout(Duration::from_secs(180)); // a busy machine may need long: the model runs a hundred times
    command
}

/// Standard output of a session that must succeed.
fn transcript(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().stderr("").get_output().stdout.clone()).expect("UTF-8")
}

/// A session with the smallest fixture.
fn small(arguments: &str, commands: &str) -> String {
    transcript(debug(arguments, commands).arg("--model").arg(fixture("base")))
}

/// The committed session is the same with any number of threads and every instruction set.
///
/// After an intended change: `GPT2_UPDATE=1 cargo test --test debug`
#[test]
fn a_scripted_session_has_one_transcript() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let commands = std::fs::read(folder.join("debug.commands")).expect("commands");
    let arguments = "--seed 1 --max-new-tokens 3 --top-p 0.9 --file";
    let session = |threads: &str, simd: Option<Simd>| {
        let mut command = debug(arguments, commands.clone());
        command.arg(folder.join("debug.prompt")).args(["--threads", threads, "--color", "never"]);
        without_line_numbers(&transcript(command.envs(simd.map(|simd| ("GPT2_SIMD", simd.name())))))
    };
    let path = folder.join("debug.transcript");
    let found = session("2", None);
    if std::env::var_os("GPT2_UPDATE").is_some() {
        std::fs::write(&path, &found).expect("the transcript");
    }
    let expected = std::fs::read_to_string(&path).expect("debug.transcript");
    assert!(found == expected, "the session differs from debug.transcript:\n{found}");
    let widest = Simd::detect();
    for simd in [Simd::Scalar, Simd::Avx2, Simd::Avx512, Simd::Neon] {
        if simd == Simd::Scalar || simd == widest || (simd, widest) == (Simd::Avx2, Simd::Avx512) {
            assert!(session("1", Some(simd)) == expected, "{}", simd.name());
        }
    }
    assert!(session("7", None) == expected);
}

/// `src/attention.rs:89` as `src/attention.rs:LINE`: a line moves with the text above it.
fn without_line_numbers(session: &str) -> String {
    let mut parts = session.split(".rs:");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| text + ".rs:LINE" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// `code` shows the function that computes a stage, with the numbers of its lines, and marks one.
#[test]
fn the_code_of_a_stage() {
    let session = small("--ids 1,2,3 --greedy --max-new-tokens 1", "code h.0.attn.heads\nquit\n");
    let source = include_str!("../src/attention.rs");
    let number = |text: &str| 1 + source.lines().position(|line| line.contains(text)).expect("a line");
    let marked = format!(">{:>4}             part.mix(&scores); // [r, D]\n", number("part.mix(&scores)"));
    let function = format!(" {:>4}     fn heads(", number("fn heads("));
    assert!(session.contains("src/attention.rs\n") && session.contains(&marked), "{session}");
    assert!(session.contains(&function), "{session}");
}

/// The text is what `generate` writes, wherever the session stops on the way.
#[test]
fn the_text_is_that_of_generate() {
    for options in [
        "--seed 3 --max-new-tokens 20",
        "--greedy --max-new-tokens 9 --stop ,",
        "--seed 8 --top-k 5 --max-new-tokens 1",
    ] {
        let mut plain = gpt2();
        plain.args(["generate", "Once upon a time"]).args(options.split(' '));
        let text = String::from_utf8(plain.assert().success().get_output().stdout.clone()).expect("UTF-8");
        for commands in [
            "",
            "next\nnext 30\n\ntoken\nblock\nback 40\n",
            "continue\nrestart\nlens\nprint\n",
            "token\nback token\ncontinue",
        ] {
            let session = transcript(debug(options, commands).arg("Once upon a time"));
            assert!(session.ends_with(&format!("new tokens\n{text}")), "{options}: {session}");
        }
    }
}

/// Stepping shows the stages of `gpt2 trace`.
#[test]
fn every_stage_is_shown_in_order() {
    let session = small("--ids 1,2,3 --greedy --max-new-tokens 2", &"next\n".repeat(2 * 32));
    let shown: Vec<&str> = session
        .lines()
        .filter(|line| line.contains("   (src/"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut list = gpt2();
    list.args(["trace", "--ids", "1,2,3", "--greedy", "--model"]).arg(fixture("base"));
    let table = String::from_utf8(list.assert().success().get_output().stdout.clone()).expect("UTF-8");
    let names: Vec<&str> = table
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(shown, [&names[..], &names[..]].concat());
    assert!(session.contains("the text ends here (length)"), "one more than there are");
}

#[test]
fn odd_commands_are_answered_and_the_session_goes_on() {
    let ids = "--ids 1,2,3 --seed 1 --max-new-tokens 2";
    for (command, part) in [
        ("frobnicate", "error: there is no command \"frobnicate\""),
        ("next 18446744073709551616", "is not a number"),
        ("next 18446744073709551615", "error: the text ends here (length)"),
        ("token 999999999999", "error: the text ends here (length)"),
        ("back", "error: this is the beginning"),
        ("back 18446744073709551615", "error: this is the beginning"),
        ("back token", "error: this is the beginning"),
        ("back lm_head", "error: no earlier stage is called \"lm_head\""),
        ("back 5", "error: this is the beginning"),
        ("run h.2", "error: no stage is called \"h.2\""),
        ("run [", "is not a stage name or pattern"),
        ("run attn.scores", "transformer.h.0.attn.scores [4, 3, 3]"),
        ("print h.*", "matches transformer.h.0.ln_1"),
        ("print c_attn", "matches transformer.h.0.attn.c_attn, transformer.h.1.attn.c_attn, ...; choose one"),
        ("print h.1.attn.c_attn", "query from column 0, key from "),
        ("run h.1.ln_1\nprint c_attn", "transformer.h.1.attn.c_attn [3, "),
        ("print 0", "no stage is called \"0\""),
        ("help ?", "show this list, or one command"),
        ("help top-k", "show or change temperature"),
        ("help x y", "help needs"),
        ("force 5", "the model gives it "),
        ("force 64", "\"a\" is forced"),
        ("print wte heads 0", "has no heads"),
        ("print wte rows 3", "there is no row 3; there are 3, 0 to 2"),
        ("print lm_head cols 211", "there is no column 211"),
        ("print lm_head top 18446744073709551615", "the 18446744073709551615 largest"),
        ("print next_id", "  "),
        ("attention 0 4", "there is no head 4; the model has 4, 0 to 3"),
        ("attention 2 0", "there is no block 2; the model has 2, 0 to 1"),
        ("ablate head 2 0", "there is no block 2"),
        ("ablate mlp 18446744073709551615", "there is no block"),
        ("force 211", "token id 211"),
        ("force -1", "force takes one"),
        ("how", "how needs a number"),
        ("how ln_f", "is not a stage with an index"),
        ("how ln_f[0,99999]", "has no number [0, 99999]"),
        ("how ln_f[0, 18446744073709551616]", "is not a stage with an index"),
        ("how attn.heads[0,0]", "choose one"),
        ("why \"two words\"", "why takes one"),
        ("why 211", "token id 211"),
        ("code nothing", "no stage is called"),
        ("force \"\"", "is 0 tokens"),
        ("temperature 0", "for the likeliest token use greedy"),
        ("temperature NaN", "temperature NaN"),
        ("temperature 1e999", "temperature inf"),
        ("top-p 2", "top-p 2 must be"),
        ("top-k 0.5", "\"0.5\" is not a value of top-k"),
        ("seed -1", "\"-1\" is not a value of seed"),
        ("greedy maybe", "greedy must be on or off"),
        ("undo", "nothing was changed"),
        ("\u{1f600} \u{0}\u{1b}[31m", "no command"),
        ("lens 100000", "after block 1"),
        ("candidates 100000", "the model says"),
        ("min-new-tokens 9", "min-new-tokens 9 must be at most"),
        ("logit-bias 5", "\"5\" is not a value of logit-bias; logit-bias must be ID=VALUE"),
        ("logit-bias 211=1", "logit-bias: token id 211"),
        (
            "context-policy off",
            "\"off\" is not a value of context-policy; context-policy must be slide, stop or error",
        ),
        ("stop x", "no command \"stop\""),
    ] {
        let session = small(ids, &format!("{command}\nwhere\n"));
        assert!(session.contains(part), "{command}: {session}");
        assert!(!session.contains(['\u{1b}', '\0']), "{command}: {session}");
        assert!(session.contains("== the end (length): 2 new tokens"), "{command}: {session}");
    }
    let long = format!("{}\nquit\n", "x".repeat(1 << 17));
    assert!(small(ids, &long).contains("error: a line longer than 64 KiB"));
    let bytes =
        debug(ids, b"\xff\xfe\x00next\n".to_vec()).arg("--model").arg(fixture("base")).assert().success();
    assert!(String::from_utf8_lossy(&bytes.get_output().stdout).contains("no command"));
}

/// Every command by its name and by its abbreviation.
#[test]
fn short_names_do_the_same() {
    let long = "next 2\nblock\ntoken\nrun h.1.attn.weights\nattention 0\nheads\nlens 2\nprint rows 0 heads 1\nprint \
                lm_head top 2\ncandidates 3\nset top-k 5\nundo\nset\nback 2\nback token\nwhere\nforce 7\nablate head 1 2\n\
                ablate mlp 0\nablate attention 1\nablate none\ntext\nstages\nseed 9\ntemperature 0.5\ngreedy on\ncontinue\n\
                restart\nhelp\nquit\n";
    let short = "n 2\nb\nt\nr h.1.attn.weights\na 0\nhea\nl 2\np rows 0 heads 1\np \
                 lm_head top 2\nd 3\ns top-k 5\nu\ns\nk 2\nk token\nw\nf 7\nab head 1 2\n\
                 ab mlp 0\nab attention 1\nab none\nx\nsta\nseed 9\ntemperature 0.5\ngreedy on\nc\n\
                 res\n?\nq\n";
    let answers = |commands: &str| {
        let session = small("--ids 1,2,3 --seed 1 --max-new-tokens 3", commands);
        assert!(!session.contains("error"), "{session}");
        session
            .split("\n> ")
            .map(|part| part.split_once('\n').map_or("", |p| p.1).to_string())
            .collect::<Vec<_>>()
    };
    let expected = answers(long);
    assert_eq!(answers(short), expected);
    let silent: Vec<usize> = (0..expected.len()).filter(|i| expected[*i].is_empty()).collect();
    let stages = 1 + long.lines().position(|line| line == "stages").expect("a command");
    assert_eq!(
        silent,
        [stages + 1, expected.len() - 1],
        "quit, and where stages marks its line like a command"
    );
}

#[test]
fn greedy_on_and_off() {
    let session = small(
        "--ids 1,2,3 --seed 4 --max-new-tokens 2",
        "token\ngreedy on\ntemperature 2\ngreedy off\ntop-k off\nset\nquit\n",
    );
    assert!(session.contains("the likeliest    ") && session.contains("greedy off draws"), "{session}");
    let drawn: Vec<&str> = session.lines().filter(|line| line.contains("the number drawn")).collect();
    assert_eq!(drawn[0], drawn[1], "the same draw as before");
    assert!(session.contains("\"seed\":4") && session.contains("\"top_k\":null"), "{session}");
    assert!(!session.contains("== the end"), "quit ends at once");
}

/// Options can be set by name, with or without `set`. A repeatable option gains one value each time.
#[test]
fn all_options_can_be_set() {
    let session = small(
        "--ids 1,2,3 --seed 4 --max-new-tokens 2",
        "logit-bias 5=-inf\nset logit-bias 6=0.5\nmin-p 0.1\nignore-eos on\ncontext-policy stop\nset\n\
         logit-bias off\nmin-p off\nignore-eos off\nset\nquit\n",
    );
    assert!(!session.contains("error"), "{session}");
    let said: Vec<&str> = session.lines().filter(|line| line.starts_with("  options ")).collect();
    for part in [
        r#""logit_bias":[[5,"-inf"],[6,0.5]]"#,
        r#""min_p":0.1"#,
        r#""ignore_eos":true"#,
        r#""context_policy":"stop""#,
    ] {
        assert!(said[0].contains(part), "{part}: {}", said[0]);
    }
    for part in ["logit_bias", "min_p", "ignore_eos"] {
        assert!(!said[1].contains(part), "{part}: {}", said[1]);
    }
}

#[test]
fn a_long_text_slides_and_can_be_walked_back() {
    let ids = (0..80).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let arguments = format!("--ids {ids} --seed 2 --max-new-tokens 40 --ignore-eos");
    let session = small(&arguments, "token 40\nback token 39\ntoken 39\ncontinue\n");
    let ends: Vec<&str> = session.split("\n> ").filter(|part| part.starts_with("token ")).collect();
    let last = |part: &str| part.lines().rev().take(4).map(String::from).collect::<Vec<_>>();
    assert_eq!(last(ends[0]), last(ends[1]), "the same token by the same number");
    assert!(session.contains("== the end (length): 40 new tokens"), "{session}");
    let first = session.lines().find(|line| line.starts_with("== step 0")).expect("a step");
    assert!(first.contains("32 tokens, positions 0 to 31"), "{first}");
}

#[test]
fn an_end_of_text_ends_it() {
    let model = Checkpoint::copy("base");
    model.configure("eos_token_id", 7);
    let mut command =
        debug("--ids 1,2 --seed 1 --max-new-tokens 9", "force 7\ntoken\nnext\nundo\nforce 8\ntoken\nquit\n");
    let session = transcript(command.arg("--model").arg(model.path()));
    assert!(session.contains("error: the text ends here (eos)"), "{session}");
    assert!(session.contains("== step 0") && !session.contains("== the end"), "{session}");
}

#[test]
fn damaged_weights_can_be_walked_through() {
    let model = Checkpoint::copy("base");
    let bytes = std::fs::read(model.file("model.safetensors")).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let mut bytes = bytes;
    bytes[8 + header..]
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .step_by(7)
        .for_each(|x| *x = f32::NAN.to_le_bytes());
    model.write("model.safetensors", bytes);
    let mut command = debug(
        "--ids 1,2 --seed 1",
        "run probs\nnext\nlens\nheads\nattention 0 0\nprint lm_head top 3\ncandidates\nback h.0.ln_1\n",
    );
    let assert = command.arg("--model").arg(model.path()).assert().code(1);
    let output = assert.get_output();
    let (session, message) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(session.contains("not finite)") && session.contains("weights are damaged"), "{session}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");
}

#[test]
fn a_text_that_may_not_slide_ends_with_an_error() {
    let ids = (0..63).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let arguments = format!("--ids {ids} --seed 1 --context-policy error --ignore-eos");
    let mut command = debug(&arguments, "token\nnext\nback\nnext\n");
    let assert = command.arg("--model").arg(fixture("base")).assert().code(1);
    let session = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(session.contains("error: the text has reached the model's 64 positions"), "{session}");
    assert!(session.contains("== the end (error): 1 new tokens"), "{session}");
    assert.stderr(predicate::str::starts_with("error: the text has reached"));
}

#[test]
fn options_that_conflict_with_debug_are_bad_usage() {
    for (arguments, part) in [
        ("--ids 1 --json", "--json"),
        ("--ids 1 --stats", "--stats"),
        ("--ids 1 --trace x", "--trace"),
        ("--ids 1 --num-return-sequences 2", "--num-return-sequences"),
        ("--batch x", "--batch"),
        ("--seed 1", "standard input carries the commands"),
        ("--ids 1 --temperature 0", "temperature"),
    ] {
        let mut command = debug(arguments, "a prompt?\n");
        command
            .arg("--model")
            .arg(fixture("base"))
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains(part));
    }
    let mut command = debug("--ids 1 --max-new-tokens 0", "");
    command
        .arg("--model")
        .arg(fixture("base"))
        .assert()
        .code(1)
        .stderr(predicate::str::contains("no token to step"));
    debug("--ids 1 --file", "").arg("/no/such/file").assert().code(2);
}

/// `force` shows how likely the token is, and names the token that begins with a space.
#[test]
fn a_forced_word_without_its_space_is_noted() {
    let session = transcript(debug("--seed 1", "force \"king\"\nquit\n").arg("The"));
    assert!(session.contains("\"king\" is forced\n  the model gives it "), "{session}");
    assert!(session.contains("  \" king\", with its space, is another token: "), "{session}");
}

#[test]
fn color_is_off_unless_requested() {
    let commands = "attention 0 1\nquit\n";
    assert!(!small("--ids 1,2,3", commands).contains('\u{1b}'));
    assert!(small("--ids 1,2,3 --color always", commands).contains("\u{1b}[48;5;255m  \u{1b}[0m"));
    assert!(!small("--ids 1,2,3 --color never", commands).contains('\u{1b}'));
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let program = assert_cmd::cargo::cargo_bin!("gpt2");
    let line = format!(
        "yes next | head -n 3000 | '{}' generate --debug --ids 1,2,3 --model '{}' | head -c 1",
        program.display(),
        fixture("base").display()
    );
    let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
    assert_eq!((output.stdout.len(), output.stderr.as_slice()), (1, &b""[..]));
}
