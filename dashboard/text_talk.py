"""Conversations, and what pretraining is worth: key → (English, Chinese)."""

from collections.abc import Mapping

TALK: Mapping[str, tuple[str, str]] = {
    "talk.say": ("Ask, or go on", "提问，或继续对话"),
    "talk.documents": ("Look into the documents", "检索文档"),
    "talk.documents.help": (
        "Passages of the current data version are found for each turn; the answer names those that it is taken from.",
        "每轮先从当前数据版本中检索段落，回答注明所依据的段落。",
    ),
    "talk.new": ("New conversation", "新对话"),
    "talk.start": ("Ask something about the documents here", "就这里的文档提问"),
    "talk.start.hint": (
        "Earlier turns are remembered as far as the model's context reaches.",
        "模型的上下文容得下多少，就记得多少轮。",
    ),
    "talk.cited": ("[{number}] {document}", "[{number}] {document}"),
    "talk.retrieved": ("What it was shown", "提供给模型的段落"),
    "talk.nothing": ("(nothing)", "（无）"),
    "talk.rate": ("Rate this turn", "评价这一轮"),
    "talk.kept": ("Kept: {id}", "已保存：{id}"),
    "curves.title": ("What pretraining is worth", "预训练的价值"),
    "curves.lead": (
        "Accuracy by number of labelled rows, mean and range over {seeds} seeds. Own domain: rows like those trained "
        "on; another: rows of a library or a subpackage that no training row is of.",
        "准确率随标注行数的变化，{seeds} 个种子的均值与范围。本域：与训练数据同类；外域：训练中从未出现的库或子包。",
    ),
    "curves.none": ("Not measured here yet", "尚未在此测量"),
    "curves.none.hint": (
        "Measure it with: make bench NAME=label_efficiency",
        "测量命令：make bench NAME=label_efficiency",
    ),
    "curves.task.library": ("Which library a text is of", "文字出自哪个库"),
    "curves.task.kind": ("Class, function or method", "类、函数还是方法"),
    "curves.test": ("own domain", "本域"),
    "curves.other": ("another domain", "外域"),
    "curves.base.pretrained": ("pretrained (MiniLM)", "预训练（MiniLM）"),
    "curves.base.same shape": ("the same shape from nothing", "同一结构，从零训练"),
    "curves.base.lstm": ("LSTM from nothing", "LSTM，从零训练"),
    "curves.base.tf-idf": ("TF-IDF + logistic regression", "TF-IDF + 逻辑回归"),
    "curves.rows": ("labelled rows", "标注行数"),
    "curves.accuracy": ("accuracy", "准确率"),
    "documents.title": ("What the documents say", "文档怎么说"),
    "documents.lead": (
        "Passages of the current data version, each with the sentence that fits; a knowledge graph moves up what the "
        "query names, and says what to read next.",
        "当前数据版本中的段落，附最相符的句子；知识图谱会提升提问中提到的内容，并推荐相关文档。",
    ),
    "documents.query": ("Search", "检索"),
    "documents.graph": ("Knowledge graph", "知识图谱"),
    "documents.waiting": ("It looks …", "正在检索……"),
    "documents.failed": ("It could not be looked up", "无法检索"),
    "documents.nothing": ("Nothing was found.", "没有找到。"),
    "documents.passage": ("The passage", "段落"),
    "documents.related": ("See also {document} ({shared})", "另见 {document}（{shared}）"),
    "documents.drawn": ("The knowledge graph", "知识图谱"),
    "documents.none": ("No graph has been built yet", "尚未建立图谱"),
    "documents.none.hint": (
        "Build one with: banyan graph build docs --table corpus",
        "建立命令：banyan graph build docs --table corpus",
    ),
    "documents.entity": (
        "An entity, in any spelling; none: the best connected",
        "实体（任意写法）；留空则显示联系最多的",
    ),
    "documents.counts": (
        "{entities} entities, {relations} relations in all",
        "共 {entities} 个实体，{relations} 个关系",
    ),
    "documents.unknown": ("The graph says nothing of {entity}.", "图谱中没有关于 {entity} 的内容。"),
    "documents.support": ("The sentences that support it", "支持这些关系的句子"),
    "documents.column.relation": ("Relation", "关系"),
    "documents.column.sentence": ("Sentence", "句子"),
    "documents.column.document": ("Document", "文档"),
}
