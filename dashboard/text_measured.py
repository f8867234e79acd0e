"""What was measured of each family: key → (English, Chinese)."""

from collections.abc import Mapping

MEASURED: Mapping[str, tuple[str, str]] = {
    "evolution.measured": ("Measured here", "在此测得"),
    "evolution.measured.lead": (
        "Held-out bits per byte against the processor time of the training; less is better in both. Same corpus, same "
        "held-out text. The best of each family is named, and its own words are below.",
        "留出文本的每字节比特数与训练所用处理器时间，二者均越低越好；语料与留出文本相同。每个家族标出最佳者，其生成的文本见下。",
    ),
    "evolution.measured.label": (
        "Bits per byte of each pretrained version against compute",
        "各预训练版本的每字节比特数与计算量",
    ),
    "evolution.measured.x_label": ("processor time", "处理器时间"),
    "evolution.measured.y_label": ("bits per byte", "每字节比特数"),
    "evolution.measured.said": (
        "{bits} bits per byte for {time} of processor time",
        "每字节 {bits} 比特，处理器时间 {time}",
    ),
    "evolution.measured.elsewhere": (
        "Trained on another corpus, so that figures do not compare: {count}.",
        "另有 {count} 个在其他语料上训练，数值不可比。",
    ),
    "evolution.sample.none": ("It wrote no sample.", "没有生成样例。"),
}
