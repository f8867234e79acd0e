"""Why an answer was given: key → (English, Chinese)."""

from collections.abc import Mapping

WHY: Mapping[str, tuple[str, str]] = {
    "why.title": ("Why this answer", "为什么这样回答"),
    "why.ask": ("Explain it", "解释"),
    "why.lead": (
        "Takes some seconds, of a long text a minute: a copy of the version that answered reads the text again.",
        "需要几秒钟，长文本约需一分钟：由作答版本的副本重新读取这段文字。",
    ),
    "why.failed": ("It could not be explained", "无法解释"),
    "why.masked": (
        "The text held personal data. This is about what the model says to its masked copy: {output}",
        "文字中含有个人信息。以下解释的是模型对脱敏副本的回答：{output}",
    ),
    "why.tokens": ("What mattered in the text", "文中起作用的部分"),
    "why.tokens.lead": (
        "Integrated gradients. Filled: spoke for the answer; dashed: against it. Together {changed} nats of "
        "log-probability; {error} of that is not accounted for.",
        "积分梯度法。填色：支持该答案；虚线：反对该答案。合计 {changed} 奈特（对数概率），其中 {error} 未能归因。",
    ),
    "why.parts.lead": (
        "Each of {count} parts of the text was left out by itself. Filled: without it the answer is less likely; "
        "dashed: more likely. The number is nats of log-probability.",
        "将文本的 {count} 个部分逐一略去。填色：略去后该答案更不可能；虚线：更可能。数值单位为奈特（对数概率）。",
    ),
    "why.attention": ("Where attention lay", "注意力所在"),
    "why.attention.lead": (
        "Mean over layers and heads. This is no explanation: weights that differ much can give the same answer.",
        "各层各头的平均值。这不是解释：差别很大的权重也可能给出相同的答案。",
    ),
    "why.weighed": ("What else it weighed", "权衡过的其他可能"),
    "why.weighed.least": (
        "The {count} least sure of {total} steps, in order.",
        "共 {total} 步，按顺序列出最没有把握的 {count} 步。",
    ),
    "why.nothing": ("(nothing)", "（无）"),
    "why.sure": ("How often is it right when it is this sure?", "有这样的把握时，它多常答对？"),
    "why.sure.known": (
        "It was {confidence} sure. Of {count} test rows answered with {low} to {high} the mean score is {score} "
        "(95% interval {least} to {most}).",
        "它的把握为 {confidence}。测试集中把握在 {low} 至 {high} 之间的有 {count} 行，"
        "平均得分 {score}（95% 区间 {least} 至 {most}）。",
    ),
    "why.sure.none": (
        "It was {confidence} sure; no test row was answered with such confidence.",
        "它的把握为 {confidence}；测试集中没有把握相近的行。",
    ),
    "why.sure.unknown": (
        "This version keeps no test rows with confidences.",
        "该版本没有保存带把握程度的测试结果。",
    ),
    "why.similar": ("Similar training rows", "相似的训练数据"),
    "why.similar.none": ("None to show: {reason}", "没有可显示的数据：{reason}"),
    "why.similar.by": ("Found by: {by}", "查找方式：{by}"),
}
