"""What it costs: key → (English, Chinese)."""

from collections.abc import Mapping

COST: Mapping[str, tuple[str, str]] = {
    "page.cost": ("Cost", "成本"),
    "cost.lead": (
        "What the models have taken: time on machines, energy, money; and what was got for it.",
        "模型消耗了多少机时、能源和资金，又换来了什么。",
    ),
    "cost.empty": ("No training has been paid for yet", "尚无训练成本"),
    "cost.empty.hint": (
        ("Every training writes down its time, memory and energy when it is done. Start one with: make demo"),
        "每次训练完成后都会记录时间、内存与能耗。启动训练：make demo",
    ),
    "cost.compute": ("Compute", "计算"),
    "cost.trainings": ("{count} trainings", "{count} 次训练"),
    "cost.energy": ("Energy", "能耗"),
    "cost.measured": ("{share} of it measured", "其中 {share} 为实测"),
    "cost.estimated": ("estimated, not measured", "估算值，非实测"),
    "cost.estimate": ("estimate", "估算"),
    "cost.money": ("Money", "费用"),
    "cost.money.what": ("energy and the machine's hours", "电费与机时费"),
    "cost.money.note": (
        (
            "Priced at {kwh} a kilowatt-hour and {hour} an hour of machine (BANYAN_PRICE_A_KWH, "
            "BANYAN_PRICE_AN_HOUR, BANYAN_CURRENCY)."
        ),
        ("按每千瓦时 {kwh}、每机时 {hour} 计价（BANYAN_PRICE_A_KWH、BANYAN_PRICE_AN_HOUR、BANYAN_CURRENCY）。"),
    ),
    "cost.point": ("Per accepted point", "每个被接受的分点"),
    "cost.point.note": ("{points} points promoted, by the gate", "关卡共接受 {points} 个分点"),
    "cost.point.less": ("promotions have brought none so far", "晋升尚未带来增益"),
    "cost.point.none": ("nothing has been promoted yet", "尚无晋升"),
    "cost.planned": ("Actual against plan", "实际与计划之比"),
    "cost.planned.note": ("median of {count} trainings", "{count} 次训练的中位数"),
    "cost.planned.none": ("nothing was planned: banyan plan", "尚无计划：banyan plan"),
    "cost.month": ("Cost this month", "本月成本"),
    "cost.models": ("By model", "按模型"),
    "cost.models.lead": (
        (
            "All trainings, the rejected ones and the controls too. A point is a hundredth of the task's "
            "score, as the gate measured it at a promotion."
        ),
        "包含所有训练，未晋升者与对照模型也计入。一个分点是任务得分的百分之一，以晋升时关卡测得者为准。",
    ),
    "cost.runs": ("Training by training", "逐次训练"),
    "cost.runs.more": (
        "{count} older trainings are in the sums, not in the list.",
        "另有 {count} 次较早的训练计入总和，未列出。",
    ),
    "cost.stages": ("One turn of the loop", "闭环一圈的时间"),
    "cost.stages.none": ("No turn of the loop has been timed here.", "此处尚无闭环计时。"),
    "cost.plans": ("Plan against actual", "计划与实际"),
    "cost.plans.none": (
        "Nothing was planned before it was trained. To plan: banyan plan RECIPE",
        "训练前没有做计划；可用 banyan plan RECIPE。",
    ),
    "cost.column.model": ("Model", "模型"),
    "cost.column.trainings": ("Trainings", "训练次数"),
    "cost.column.time": ("Time", "时间"),
    "cost.column.energy": ("Energy", "能耗"),
    "cost.column.money": ("Money", "费用"),
    "cost.column.points": ("Points", "分点"),
    "cost.column.per_point": ("Per point", "每分点"),
    "cost.column.when": ("When", "时间点"),
    "cost.column.memory": ("Peak memory", "峰值内存"),
    "cost.column.source": ("Known from", "来源"),
    "cost.column.plan": ("Plan", "计划"),
    "cost.column.actual": ("Actual", "实际"),
    "cost.column.ratio": ("Ratio", "比值"),
    "cost.column.recipe": ("Recipe", "配方"),
    "cost.energy.measured": (
        "Measured where the machine counts it ({sources}).",
        "在机器可计量处为实测（{sources}）。",
    ),
    "cost.energy.estimated": (
        (
            "An estimate from time: {watts} W a busy core and what memory draws (Lannelongue et al. 2021), a "
            "GPU at its board's limit. This machine counts no energy (neither RAPL nor NVML is readable)."
        ),
        (
            "按时间估算：每个繁忙核心 {watts} 瓦加内存功耗（Lannelongue 等，2021），GPU 按板卡上限计。本机无"
            "法计量能耗（RAPL 与 NVML 均不可读）。"
        ),
    ),
    "cost.wh": ("{value} Wh", "{value} 瓦时"),
    "cost.kwh": ("{value} kWh", "{value} 千瓦时"),
    "cost.gb": ("{value} GB", "{value} GB"),
}
