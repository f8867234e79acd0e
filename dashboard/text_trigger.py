"""Why a retraining began, and why one did not: key → (English, Chinese)."""

from collections.abc import Mapping

TRIGGER: Mapping[str, tuple[str, str]] = {
    "list.stop": ("; ", "；"),
    "trigger.enough": ("{rows} of feedback wait, {least} are enough", "{rows}反馈待用，达到 {least} 行即可"),
    "trigger.waiting": ("{rows} of feedback wait", "{rows}反馈待用"),
    "trigger.least": ("{least} are needed", "需要 {least} 行"),
    "trigger.canary": ("the watch took {what} back", "监测已撤回 {what}"),
    "trigger.drift": ("{what} drifted by {drift}, beyond {limit}", "{what} 漂移 {drift}，超过 {limit}"),
    "trigger.drift.none": ("drift is {drift} of {limit}", "漂移 {drift}（上限 {limit}）"),
    "trigger.data": (
        "the labelled rows are others than the champion was trained on",
        "标注数据与当前冠军训练时不同",
    ),
    "trigger.data.none": ("no new labelled rows", "没有新的标注数据"),
    "trigger.canary.none": ("no version was taken back", "没有版本被撤回"),
    "trigger.resting": (
        "but the last retraining ended {ago} ago, and the next may begin in {left}",
        "但上次重新训练结束于 {ago}前，{left}后才能再次开始",
    ),
    "trigger.lost": (
        "but {count} in a row came to nothing, the last {ago} ago, and the next may begin in {left}",
        "但已连续 {count} 次没有结果，上次在 {ago}前，{left}后才能再次开始",
    ),
    "trigger.ceiling": (
        "but {count} in a day is the most, and there were {today}",
        "但一天最多 {count} 次，今天已有 {today} 次",
    ),
    "trigger.unknown": ("what a retraining gains here is not known yet", "尚不知重新训练能带来多少提升"),
    "trigger.worth": (
        "{gain} expected for {span} of training, {hour} an hour",
        "预计 {span}训练可提升 {gain}，合每小时 {hour}",
    ),
    "trigger.not_worth": (
        "but {gain} expected for {span} of training is {hour} an hour, and {least} is the least",
        "但预计 {span}训练只提升 {gain}，合每小时 {hour}，低于下限 {least}",
    ),
    "trigger.asked.anew": ("somebody asked for it to be done anew", "有人要求重新执行"),
    "trigger.asked.cut": ("somebody asked for it on the feedback up to {cut}", "有人要求用截至 {cut} 的反馈执行"),
    "trigger.since": ("{rows} of feedback since the last retraining", "自上次重新训练以来有{rows}反馈"),
    "trigger.nothing": ("no feedback waits; one row is enough", "没有待用反馈；一行即可"),
    "trigger.busy": ("another retraining of the table is at work", "该表已有重新训练在进行"),
    "trigger.refused": ("all {count} rows were refused", "全部 {count} 行均未采纳"),
    "trigger.elsewhere": ("its recipe needs a GPU: it goes on in pool gpu", "配方需要 GPU：转到 gpu 池继续"),
    "trigger.span.s": ("{count} s", "{count} 秒"),
    "trigger.span.minutes": ("{count} min", "{count} 分钟"),
    "trigger.span.hours": ("{count} h", "{count} 小时"),
    "trigger.span.days": ("{count} days", "{count} 天"),
    "runs.outcome.NotEnoughFeedback": ("not enough yet", "反馈不足"),
    "runs.outcome.AlreadyRetraining": ("already at work", "已在进行"),
    "runs.outcome.BackingOff": ("waits after a failure", "失败后暂缓"),
    "runs.outcome.Resting": ("resting", "间歇中"),
    "runs.outcome.CeilingReached": ("ceiling reached", "已达上限"),
    "runs.outcome.NotWorthIt": ("not worth it", "得不偿失"),
    "runs.outcome.NothingAdmitted": ("nothing admitted", "无可用反馈"),
    "runs.outcome.HandedOver": ("handed over", "已移交"),
}
