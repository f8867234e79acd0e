"""Schedules, curves and what operators do to a run: key → (English, Chinese)."""

from collections.abc import Mapping

RUNS: Mapping[str, tuple[str, str]] = {
    "runs.curves": ("Training now", "正在训练"),
    "runs.curves.lead": (
        "Loss of every step so far, in nats; as MLflow has it.",
        "迄今每一步的损失（奈特），取自 MLflow。",
    ),
    "runs.curves.label": ("Loss of {name} over its steps", "{name} 的逐步损失"),
    "runs.curves.x": ("step", "步"),
    "runs.progress": ("{done} of {total}", "{done} / {total}"),
    "runs.progress.loss": ("loss {loss} · {speed} tokens a second", "损失 {loss} · 每秒 {speed} 词元"),
    "runs.progress.left": ("{time} left", "还需 {time}"),
    "runs.schedules": ("By the clock", "定时任务"),
    "runs.schedules.lead": (
        "What starts at set times, each by its own time zone's clock.",
        "按时间表启动的任务，各按其时区计时。",
    ),
    "runs.schedules.none": (
        'Nothing is scheduled. For example: banyan schedule add retrain --table T --cron "0 3 * * 1"',
        '尚无定时任务。例如：banyan schedule add retrain --table T --cron "0 3 * * 1"',
    ),
    "runs.schedule.on": ("on", "启用"),
    "runs.schedule.paused": ("paused", "已暂停"),
    "runs.schedule.next": ("next {times}", "下次 {times}"),
    "runs.schedule.soon": ("its next times are being worked out", "正在计算下次时间"),
    "ahead.minutes": ("in {value} min", "{value} 分钟后"),
    "ahead.hours": ("in {value} h", "{value} 小时后"),
    "ahead.days": ("in {value} d", "{value} 天后"),
    "runs.pool.none": (
        "no worker serves pool {pool}: it waits until one does; start one with: banyan worker --pool {pool}",
        "没有工作进程承接 {pool} 池，任务将等待；启动：banyan worker --pool {pool}",
    ),
    "runs.pool.none.cpu": (
        "the stack's worker is not online: it waits until it is; see: banyan status",
        "本机工作进程不在线，任务将等待；参见 banyan status",
    ),
    "runs.waits": ("waits for a worker", "等待工作进程"),
    "runs.cancel.title": ("Cancel", "取消"),
    "runs.cancel.confirm": (
        "Cancel {run}? Its last checkpoint stays; the same training goes on from there when it is started again.",
        "取消 {run}？最近的检查点会保留，再次启动同一训练时从该处继续。",
    ),
    "runs.cancel.yes": ("Yes, cancel it", "是，取消"),
    "runs.cancel.done": ("It is being cancelled.", "正在取消。"),
    "runs.retry.title": ("Try again", "重试"),
    "runs.retry.confirm": (
        "Run {run} again? It goes on from its finished steps and its last checkpoint.",
        "重新运行 {run}？将从已完成的步骤和最近的检查点继续。",
    ),
    "runs.retry.yes": ("Yes, run it again", "是，重新运行"),
    "runs.retry.done": ("It has been scheduled anew.", "已重新排队。"),
    "runs.given.cut": ("up to {value}", "反馈截至 {value}"),
    "runs.given.data": ("on data {value}", "数据 {value}"),
    "runs.bell.enough_feedback": ("enough feedback", "反馈已足够"),
    "runs.bell.new_data": ("new data", "数据有更新"),
    "runs.bell.what_was_put_off": ("what was put off", "先前推迟的"),
    "runs.bell.a_failed_canary": ("a failed canary", "金丝雀失败"),
    "step.hold": ("holding the claim", "占用重新训练名额"),
    "step.tables": ("looking for tables with a champion", "查找有冠军的表"),
    "step.ask": ("asking for a retraining", "请求重新训练"),
    "runs.change.refused": ("It was not done", "未执行"),
}
