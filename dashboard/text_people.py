"""Who may do what: key → (English, Chinese)."""

from collections.abc import Mapping

PEOPLE: Mapping[str, tuple[str, str]] = {
    "role.viewer": ("viewer", "访客"),
    "role.rater": ("rater", "评价者"),
    "role.operator": ("operator", "运维人员"),
    "people.welcome": ("Who is there?", "请登录"),
    "people.welcome.lead": (
        "This dashboard shows what your team's models do. Sign in to see it.",
        "本仪表盘展示团队模型的运行情况，请登录后查看。",
    ),
    "people.in": ("Sign in", "登录"),
    "people.out": ("Sign out", "退出登录"),
    "people.as": ("{name} · {role}", "{name} · {role}"),
    "people.stranger": ("You have no role here", "您在此没有角色"),
    "people.stranger.hint": (
        (
            "{name} is signed in, but nobody has given this account a role. An operator adds it to the "
            "dashboard's secrets."
        ),
        "{name} 已登录，但尚未被授予角色。请联系运维人员在仪表盘密钥文件中添加。",
    ),
    "people.needs": ("This takes the role “{role}”.", "此操作需要“{role}”角色。"),
    "people.open": ("The dashboard refuses to serve", "仪表盘拒绝提供服务"),
    "actions.title": ("Who did what", "操作记录"),
    "actions.lead": (
        "Everything that was asked for through this dashboard, refusals too; kept in the ledger.",
        "通过本仪表盘提出的所有操作请求（含被拒绝的），均记录在账本中。",
    ),
    "actions.none": ("Nothing has been asked for yet.", "尚无操作。"),
    "action.retrain": ("Retraining of {subject}", "重新训练 {subject}"),
    "action.rollback": ("Rollback to {subject}", "回滚到 {subject}"),
    "action.promote": ("Promotion of {subject}", "晋升 {subject}"),
    "action.cancel": ("Cancelling of {subject}", "取消 {subject}"),
    "action.retry": ("Retry of {subject}", "重试 {subject}"),
    "action.schedule": ("Schedule of {subject}", "排程 {subject}"),
    "action.appeal": ("Appeal of {subject}", "改判 {subject}"),
    "action.accept-journal": ("Journal accepted as it is: {subject}", "接受现有日志：{subject}"),
    "action.feedback": ("Feedback on {subject}", "对 {subject} 的反馈"),
    "action.preference": ("Preference on {subject}", "对 {subject} 的偏好"),
    "appeal.button": ("Overrule …", "改判……"),
    "appeal.title": ("Overrule a refusal", "改判被拒的反馈"),
    "appeal.lead": (
        "Refused: {reason}. If you overrule it, the next retraining learns from it, in place of what others said of "
        "the same text.",
        "拒绝原因：{reason}。改判后，下次重新训练将采用它，并取代他人对同一文本的意见。",
    ),
    "appeal.why": ("Why (kept, and read by whoever gave the feedback)", "原因（会被记录，反馈者可以看到）"),
    "appeal.yes": ("Yes, overrule", "确认改判"),
    "appeal.blank": ("Say why: it is kept.", "请填写原因：它会被记录。"),
    "appeal.done": ("The next retraining admits it.", "下次重新训练将采用这条反馈。"),
    "appeal.refused": ("It was not overruled", "未能改判"),
    "appeal.others": (
        "A refusal that is a judgement can be overruled by an operator: tell one the feedback's id.",
        "属于判断性的拒绝可由运维人员改判：请把反馈编号告诉他们。",
    ),
    "fate.detail.why": ("{said}: {why}", "{said}：{why}"),
    "outcome.asked": ("begun, no end known", "已开始，结果未知"),
    "outcome.done": ("done", "完成"),
    "outcome.failed": ("failed", "失败"),
    "outcome.refused": ("refused", "被拒绝"),
    "playground.ask.both": ("Ask both, blind", "盲测两者"),
    "playground.both": ("Which answer is better?", "哪个答案更好？"),
    "playground.both.lead": (
        "One is the champion's, one the challenger's, in an order that was drawn; who is who is said afterwards.",
        "一个来自冠军，一个来自挑战者，顺序随机；选择之后才揭晓。",
    ),
    "playground.first": ("First answer", "第一个答案"),
    "playground.second": ("Second answer", "第二个答案"),
    "playground.prefer": ("This one is better", "这个更好"),
    "playground.was": ("{model} · preferred", "{model} · 更受青睐"),
    "playground.was.not": ("{model}", "{model}"),
    "playground.source": ("Your text", "原文"),
    "playground.nothing.found": ("Nothing was found in it.", "未找到任何内容。"),
    "playground.no.answer": ("The text does not say.", "文中没有答案。"),
    "playground.tests": ("Run its examples", "运行示例测试"),
    "playground.tests.passed": ("Its examples pass", "示例全部通过"),
    "playground.tests.failed": ("Its examples fail: {outcome}", "示例未通过：{outcome}"),
    "playground.tests.refused": ("It was not run", "未运行"),
}
