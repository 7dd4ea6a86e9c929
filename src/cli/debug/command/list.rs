//! The list of all commands.

/// Name, abbreviation, arguments, what it does.
pub const COMMANDS: [(&str, &str, &str, &str); 24] = [
    ("next", "n", "[N]", "go to the next stage, or N stages on; an empty line does the same"),
    ("block", "b", "[N]", "run to the end of this block, or of the N-th block from here"),
    ("token", "t", "[N]", "run to the next chosen token, or the N-th"),
    ("run", "r", "STAGE", "run to the next stage with this name: lm_head, attn.weights, h.3.mlp.act, ln_*"),
    ("continue", "c", "", "run to the end of the text"),
    ("back", "k", "[N] | token [N] | STAGE", "go back N stages or tokens, or to an earlier stage"),
    ("restart", "", "", "go back to the first stage of the first step"),
    (
        "print",
        "p",
        "[STAGE] [rows A-B] [cols A-B] [heads A-B] [top N]",
        "print numbers of a stage, or the N largest of each row",
    ),
    ("how", "", "[STAGE][I,J]", "show how one number came about: operands, terms, intermediate results"),
    (
        "why",
        "",
        "[ID | \"TEXT\"]",
        "show what each part of the model adds to the logit of a token: the chosen one",
    ),
    ("code", "", "[STAGE]", "show the function that computes a stage, and the line"),
    ("attention", "a", "[BLOCK] HEAD", "show where a head attends: queries down, keys across"),
    ("heads", "", "", "show where each head attends: to the first token, the previous token, itself"),
    ("candidates", "d", "[N]", "show the N likeliest tokens before and after each processor, and the draw"),
    ("lens", "l", "[N]", "show what the model would predict if it stopped after each block"),
    ("text", "x", "", "show the new text so far"),
    ("stages", "", "", "list the stages of this step"),
    ("where", "w", "", "show this stage again"),
    (
        "set",
        "s",
        "[NAME VALUE | NAME off]",
        "show or change temperature, top-k, top-p, ..., seed, greedy (named as the flags)",
    ),
    ("force", "f", "ID | \"TEXT\"", "make this the next token instead of the chosen one"),
    (
        "ablate",
        "",
        "head BLOCK HEAD | attention BLOCK | mlp BLOCK | none",
        "switch off a part of the model, from this step on",
    ),
    ("undo", "u", "", "undo the last change made in this step"),
    ("help", "h", "[COMMAND]", "show this list, or one command; ? does the same"),
    ("quit", "q", "", "end the session"),
];

/// The help text: a list of all commands, or the entry of one.
pub fn help(only: Option<&str>) -> String {
    let line = |(name, short, arguments, about): &(&str, &str, &str, &str)| {
        let names = if short.is_empty() { name.to_string() } else { format!("{name}, {short}") };
        let usage = format!("  {names:<15} {arguments}");
        format!("{}\n                  {about}\n", usage.trim_end())
    };
    let shown = |name: &str| only.is_none_or(|only| only == name);
    let list: String = COMMANDS.iter().filter(|(name, ..)| shown(name)).map(line).collect();
    if only.is_some() {
        return list;
    }
    format!(
        "{list}A command name may be shortened if it stays unambiguous. set may be left out: temperature 0.5.\n\
         A change applies to this step and to later ones. Going back to an earlier step\n\
         suspends it; going forward again restores it.\n"
    )
}

/// The full name of a command.
pub fn full_name(word: &str) -> Result<&'static str, String> {
    let word = if word == "?" { "help" } else { word };
    let named = |name: &str| name == word && !name.is_empty();
    if let Some(found) = COMMANDS.iter().find(|(name, short, ..)| named(name) || named(short)) {
        return Ok(found.0);
    }
    let begins: Vec<&str> = COMMANDS.iter().map(|c| c.0).filter(|name| name.starts_with(word)).collect();
    match begins[..] {
        [name] => Ok(name),
        [] => Err(format!("there is no command {word:?}; help lists them")),
        _ => Err(format!("{word:?} is ambiguous: {}", begins.join(" or "))),
    }
}
