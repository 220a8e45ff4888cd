"""The section `corpus`: questions and answers about each (image, class)."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from qaclims_ray.config.base import Names, Precision, Section

FOREGROUND_QUESTIONS = (
    "What kind of {} is in the photo?",
    "What type of {} is in the photo?",
    "What is this {} also called?",
    "What is this {} usually called?",
    "What is another word for this {}?",
    "What is another name for this {}?",
)
BACKGROUND_QUESTIONS = (
    "what is above the {}?",
    "what is under the {}?",
    "what is behind the {}?",
    "what is around the {}?",
    "what is next to the {}?",
    "what is the left side of {}?",
    "what is the right side of {}?",
    "what scene is the {} in?",
    "what environment is the {} in?",
    "what place is the {} in?",
)
"""The paper's templates about a class (`visual_questions.py` of the published code)."""


class Blip(Section):
    """BLIP visual question answering by transformers."""

    kind: Literal["blip"]
    model: str = "Salesforce/blip-vqa-capfilt-large"
    """Hub id or local directory; `package:` points into this package."""
    num_beams: PositiveInt = 3
    max_length: PositiveInt = 10
    """Longest answer in tokens, the start token included."""
    precision: Precision = "float32"
    """Number type of the weights; float16 and bfloat16 are for GPUs."""
    token_budget: PositiveInt | None = None
    """Question tokens, padding included, that are encoded at once, and whose beams are decoded
    at once: bounds memory however many classes an image has; the answers stay the same. null:
    2048 on CPUs; on a GPU each actor tries at its start what half of its share of the free memory
    allows (256 to 65,536)."""
    compile: bool = False
    """torch.compile for the image encoder, meant for GPUs: takes up to a minute when an actor
    starts. Needs a C++ compiler, and on GPUs Triton. On CPUs it works, but gains nothing."""


class ImageBounds(Section):
    """Sizes of images that a model is shown; others are recorded as errors before it sees them."""

    min_side: PositiveInt = 28
    """Shortest side in pixels. Qwen2-VL and its like take none below 28; a model that takes smaller
    images may get them: 1."""
    max_aspect_ratio: PositiveFloat = 200.0
    """Most that the long side may be of the short one; Qwen2-VL takes no more than 200."""
    max_side: PositiveInt | None = None
    """Longest side in pixels; larger images are shown reduced to it. null: as they are, or as
    `data.max_side` says."""


class Chat(ImageBounds):
    """Any vision-language model that chats, by transformers: SmolVLM, Qwen-VL, LLaVA and so on."""

    kind: Literal["chat"]
    model: str
    """Hub id or local directory."""
    instruction: str = "Answer with one or a few words."
    """Text behind each question."""
    max_new_tokens: PositiveInt = 10
    """Longest answer in tokens, thoughts included; a longer one is cut off and does not count."""
    batch_size: PositiveInt = 16
    """Questions answered at once, which bounds memory; the answers stay the same."""
    precision: Precision = "float32"
    """Number type of the weights; float16 and bfloat16 are for GPUs."""


class Server(ImageBounds):
    """A vision-language model behind an OpenAI-compatible server: vLLM, SGLang and so on."""

    kind: Literal["server"]
    url: str = Field(pattern=r"^https?://[^\s@?#]+$")
    """Base URL, such as `http://localhost:8000/v1`."""
    model: str
    """Name of the model on the server."""
    instruction: str = "Answer with one or a few words."
    """Text behind each question."""
    max_new_tokens: PositiveInt = 10
    """Longest answer in tokens, thoughts included; a longer one is cut off and does not count."""
    num_connections: PositiveInt = 16
    """Requests that each actor sends at once."""
    timeout: PositiveFloat = 120.0
    """Seconds that a request may take before it is sent again."""
    key_variable: str = Field("OPENAI_API_KEY", pattern=r"^[A-Z_][A-Z0-9_]*$")
    """Environment variable (of the actors) that holds the API key; unset, none is sent."""
    extra: dict[str, Any] = {}
    """Further fields of each request, such as `{chat_template_kwargs: {enable_thinking: false}}`.
    They replace fields of the same name; null leaves a field out (`max_tokens: null`)."""


class Vllm(ImageBounds):
    """Any vision-language model of vLLM, which each actor runs on GPUs of its own.

    Needs `pip install 'qaclims_ray[vllm]'` where actors run. vLLM 0.33 wants torch 2.14.0 and
    transformers below 5.21, this package transformers 5.20 or later: 5.20 serves both. An actor
    needs a GPU: `compute.corpus.num_gpus: 1`; a fraction, with its `gpu_memory_utilization` in
    `engine_kwargs`; or several GPUs of one node, over which the model is then spread (tensor
    parallelism). All questions about `compute.corpus.batch_size` images are asked at once.
    Decoding is greedy; yet other batches may round otherwise and change an answer now and then.
    """

    kind: Literal["vllm"]
    model: str
    """Hub id or local directory."""
    instruction: str = "Answer with one or a few words."
    """Text behind each question."""
    max_new_tokens: PositiveInt = 10
    """Longest answer in tokens, thoughts included; a longer one is cut off and does not count."""
    precision: Literal["auto"] | Precision = "auto"
    """Number type of the weights; auto: the model's own."""
    content: Literal["parts", "text"] = "parts"
    """Form in which the model's chat template takes the image: as a part of the message, as most
    do, or as a token in its text."""
    engine_kwargs: dict[str, Any] = {}
    """Further arguments of `vllm.LLM`, such as `max_model_len`; they replace ours of the same name.
    `tensor_parallel_size` x `pipeline_parallel_size` must be `compute.corpus.num_gpus`."""


class Table(Section):
    """Answers written by hand, for methods without a VQA model."""

    kind: Literal["table"]
    answers: dict[str, str]
    """Answer to each question, class name filled in."""


class Replay(Section):
    """Answers of an earlier corpus, found by image name and question."""

    kind: Literal["replay"]
    corpus: str | tuple[str, str]
    """A complete artifact `corpus` (folder or URL), of which no more is read than is asked for; or
    published files, `[…_vqa_fg_blip.npy, …_vqa_bg_blip.npy]`, which each actor holds whole."""


class Questions(Section):
    """Question templates; `{}` stands for the class name."""

    about: Literal["class", "image"] = "class"
    """class: asked about each class that the image's labels name; image: once, whatever its labels,
    by templates of one's own without `{}`. Such a background answer belongs to every class of the
    image, a foreground answer to those that it names."""
    foreground: tuple[str, ...] | None = None
    """null: the paper's 6 with `about: class`, none with `about: image`. An empty list: none."""
    background: tuple[str, ...] | None = None
    """null: the paper's 10 with `about: class`, none with `about: image`. An empty list: none; RITC
    then needs `texts.backgrounds`, as it learns from pairs that have a background text."""

    @property
    def templates(self) -> dict[Literal["fg", "bg"], tuple[str, ...]]:
        """The templates of each kind, with the paper's in place of null."""
        names_class = self.about == "class"
        foreground = FOREGROUND_QUESTIONS if names_class else ()
        background = BACKGROUND_QUESTIONS if names_class else ()
        return {
            "fg": foreground if self.foreground is None else self.foreground,
            "bg": background if self.background is None else self.background,
        }

    @property
    def num_templates(self) -> int:
        """Number of questions about each pair (image, class), or about each image."""
        return sum(map(len, self.templates.values()))

    @model_validator(mode="after")
    def _check_templates(self) -> "Questions":
        if self.about == "class" and not self.num_templates:
            raise ValueError(
                "foreground and background are both empty, so nothing would be asked: leave "
                "one of them out (null) for the paper's questions, or list your own"
            )
        if self.about == "image" and not self.num_templates:
            raise ValueError(
                "about: image needs templates in foreground or background, as the paper's ask "
                "about a class"
            )
        for template in (*self.templates["fg"], *self.templates["bg"]):
            if self.about == "image" and "{}" in template:
                raise ValueError(
                    f"about: image asks about no class, but {template!r} has {{}} for its name: "
                    "reword it, or choose about: class"
                )
        return self


class Texts(Section):
    """Which texts a pair (image, class) contrasts with its regions."""

    template: str = "a photo of {}."
    """Prompt around each text."""
    foreground: Literal["answers", "class_name"] = "answers"
    """answers: half the class name, half the mean of the prompts; class_name: it alone (CLIMS)."""
    backgrounds: Literal["answers"] | Names = "answers"
    """answers: those about this very image; or a fixed list for all images (CLIMS)."""


Engine: TypeAlias = Blip | Chat | Server | Vllm | Table | Replay
"""Sections of the engines that can answer the questions."""


class Corpus(Section):
    """Questions and answers about each (image, class)."""

    engine: Annotated[Engine, Field(discriminator="kind")] = Blip(kind="blip")
    questions: Questions = Questions()
    cache: str | None = None
    """Folder or URL of the answers that were given before: what was asked there about the bytes of
    an image, by the same engine with the same settings, is taken and not asked again. Runs may
    share one, also at the same time. null: `answers` in the run. It changes no result, and may be
    removed at any time. `table` and `replay` keep none."""
    wordnet: str | None = None
    """Folder or URL of a WordNet database (index.noun and noun.exc, such as /usr/share/wordnet of
    Debian's wordnet-base): answers are lemmatised as in the published code. null: by lemminflect,
    which differs in few words; there "vases" are no "vas", nor are "uses" "us"."""
    expected_names: dict[str, tuple[str, ...]] = {}
    """More names of a class that an answer may contain and then needs no class name appended."""
    texts: Texts = Texts()
