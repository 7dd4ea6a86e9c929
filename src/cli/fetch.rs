//! `gpt2 fetch`: a model from the Hugging Face hub into the cache.

use super::failure::Failure;
use super::model::Common;
use super::progress;
use super::report::print;
use gpt2::checkpoint::hub;

#[derive(clap::Args)]
#[command(after_help = "\
The cache is that of Python's huggingface_hub, and found the same way (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface/hub). \
HF_ENDPOINT names another hub, HF_TOKEN a token for models that need one; with HF_HUB_OFFLINE=1 nothing is asked. A \
model that is whole in the cache is not asked for again. An interrupted fetch goes on where it was.

Prints the model's folder.")]
pub struct Args {
    /// The model: gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, or ORG/NAME
    #[arg(value_name = "NAME")]
    name: String,
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let (mut bar, mut shown) = (None, String::new());
    let folder = hub::fetch(&args.name, &mut |file, there, size| {
        if file != shown {
            shown = file.into();
            bar = Some(progress::file(file, size));
        }
        bar.as_ref().inspect(|bar| bar.set_position(there));
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    print(&format!("{}\n", folder?.display()))
}
