"""Answers row by row, and figures on files: key → (English, Chinese)."""

from collections.abc import Mapping

MISTAKES: Mapping[str, tuple[str, str]] = {
    "mistakes.title": ("What it gets wrong", "它错在哪里"),
    "mistakes.lead": (
        "The test rows of {model} one by one, the worst first. Personal data stays masked as it was stored.",
        "{model} 的测试行，逐行列出，最差者在前。个人信息保持存储时的遮盖。",
    ),
    "mistakes.open": ("Show the rows", "显示这些行"),
    "mistakes.slice": ("Part of the test rows", "测试行的分片"),
    "mistakes.all": ("all rows", "全部行"),
    "mistakes.only": ("Only errors", "仅看错误"),
    "mistakes.told": (
        "{wrong} of {all} rows are not wholly right; {shown} are shown.",
        "{all} 行中有 {wrong} 行不完全正确，显示 {shown} 行。",
    ),
    "mistakes.no_texts": (
        "The rows' texts are not on this machine: their data version is not checked out here.",
        "这些行的文本不在本机：其数据版本未在此检出。",
    ),
    "mistakes.none": ("No row was kept of this version.", "此版本没有保留逐行结果。"),
    "mistakes.column.text": ("Text", "文本"),
    "mistakes.column.target": ("Right answer", "正确答案"),
    "mistakes.column.prediction": ("Its answer", "它的回答"),
    "mistakes.column.score": ("Score", "得分"),
    "mistakes.column.confidence": ("Confidence", "置信度"),
    "files.title": ("On files", "在文件上"),
    "files.lead": (
        "What `banyan evaluate MODEL --task T --file F` measured here, with 95% intervals.",
        "`banyan evaluate MODEL --task T --file F` 在此测得的结果，附 95% 区间。",
    ),
    "files.column.file": ("File", "文件"),
    "files.column.version": ("Version", "版本"),
    "files.column.rows": ("Rows", "行数"),
    "files.column.metric": ("Measure", "指标"),
    "files.column.value": ("Value", "值"),
    "files.column.interval": ("Interval", "区间"),
    "files.column.champion": ("Champion", "冠军"),
    "files.column.baseline": ("Baseline", "基线"),
    "files.column.at": ("When", "时间"),
}
