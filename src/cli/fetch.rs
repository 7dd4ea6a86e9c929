//! `gpt2 fetch`: a model from the Hugging Face hub into the cache.

use super::failure::Failure;
use super::model::Common;
use super::progress;
use super::report::print;
use gpt2::checkpoint::hub;

#[derive(clap::Args)]
#[command(after_help = "\
The files go to the cache of Python's huggingface_hub, which is found in the same way (HF_HUB_CACHE, HF_HOME, \
~/.cache/huggingface/hub). HF_ENDPOINT selects another hub, and HF_TOKEN gives access to private models. With \
HF_HUB_OFFLINE=1, nothing is downloaded. A model that is complete in the cache is not downloaded again, and an \
interrupted download resumes.

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
