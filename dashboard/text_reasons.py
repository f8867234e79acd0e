"""Why rows are left out, in the words of those who leave them out: key → (English, Chinese)."""

from collections.abc import Mapping

REASONS: Mapping[str, tuple[str, str]] = {
    "reason.no text": ("no text", "没有文本"),
    "reason.no label or target": ("no label or target", "没有标签或目标"),
    "reason.malformed row": ("malformed row", "格式错误的行"),
    "reason.unknown label": ("unknown label", "未知标签"),
    "reason.label with too few rows": ("label with too few rows", "标签样本过少"),
    "reason.another language": ("another language", "其他语言"),
    "reason.does not fit its text": ("does not fit its text", "与原文不符"),
    "reason.piece of a benchmark": ("piece of a benchmark", "属于评测集"),
    "reason.duplicate": ("duplicate", "重复"),
    "reason.conflicting label": ("conflicting label", "标签相互矛盾"),
    "reason.near-duplicate": ("near-duplicate", "近似重复"),
    "reason.too short": ("too short", "过短"),
    "reason.too long": ("too long", "过长"),
    "reason.function without a body": ("function without a body", "没有函数体"),
    "reason.no first line to learn from": ("no first line to learn from", "没有可学习的首行"),
    "reason.mostly not words": ("mostly not words", "大部分不是文字"),
    "reason.generated or data, not written": ("generated or data, not written", "生成内容或数据，非人工撰写"),
    "reason.over the share of one source file": ("over the share of one source file", "超出单个源文件的份额"),
    "reason.over quota": ("over quota", "超出配额"),
    "reason.label that was only filled in": ("label that no row came with, only filled in", "仅由填补得到的标签"),
    "reason.filled-in answer in a test group": ("filled-in answer in a test group", "测试组中的填补答案"),
    "reason.source file of a test split": ("source file of a test split", "属于测试集的源文件"),
    "reason.thumbs-down without correction": ("thumbs-down without correction", "只否定、未更正"),
    "reason.compares two answers: learned from in pairs": (
        "compares two answers: learned from in pairs",
        "比较两个答案：成对用于学习",
    ),
    "reason.a comment names no answer": ("a comment names no answer", "评论未指明答案"),
    "reason.a middling rating names no answer": ("a middling rating names no answer", "中等评分未指明答案"),
    "reason.empty": ("empty", "内容为空"),
    "reason.in the test split": ("in the test split", "属于测试集"),
    "reason.nearly in the test split": ("nearly in the test split", "与测试集近似"),
    "reason.already in the training split": ("already in the training split", "已在训练集中"),
    "reason.contradicts the training split": ("contradicts the training split", "与训练集矛盾"),
    "reason.superseded by a later row of the same person": (
        "superseded by a later row of the same person",
        "已被同一人的后续反馈取代",
    ),
    "reason.contradictory: others want another answer to the same text": (
        "contradictory: others want another answer to the same text",
        "与他人对同一文本的意见矛盾",
    ),
    "reason.duplicate of earlier feedback": ("duplicate of earlier feedback", "与先前反馈重复"),
    "reason.outvoted: those who were right more often want another answer": (
        "outvoted: those who were right more often want another answer",
        "得票不足：更可靠的人给出了别的答案",
    ),
    "reason.others and known answers too often speak against this person": (
        "others and known answers too often speak against this person",
        "此人的意见常被他人和已知答案否定",
    ),
    "reason.a prompt with a known answer, asked to see who answers in earnest": (
        "a prompt with a known answer, asked to see who answers in earnest",
        "答案已知的检验题，用来看谁在认真作答",
    ),
    "reason.this person fails prompts with known answers": (
        "this person fails prompts with known answers",
        "此人答错了答案已知的检验题",
    ),
    "reason.holds a key, a token or a password": ("holds a key, a token or a password", "含有密钥、令牌或密码"),
    "reason.speaks to the model, not of the answer": (
        "speaks to the model, not of the answer",
        "在对模型下指令，而非评价答案",
    ),
    "reason.links or repetitions": ("links or repetitions", "链接或重复内容"),
    "reason.outside the matter of this table": ("outside the matter of this table", "与此表的主题无关"),
    "reason.too much at once from one person": ("too much at once from one person", "同一人短时间内提交过多"),
    "reason.over one person's share of the feedback": (
        "over one person's share of the feedback",
        "超出单个人的反馈份额",
    ),
    "reason.kept aside to measure by": ("kept aside to measure by", "留作评测，不用于训练"),
    "reason.appealed by an operator": ("appealed by an operator", "运维人员已改判"),
}
