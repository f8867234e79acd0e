"""What the gate found, where versions come from, and who moved what: key → (English, Chinese)."""

from collections.abc import Mapping

GATE: Mapping[str, tuple[str, str]] = {
    "gate.choose": ("Which comparison", "选择一次比较"),
    "gate.title": ("The gate's evidence", "关卡的证据"),
    "gate.lead": (
        (
            "Everything that was weighed when a challenger was compared: promoted only where the interval "
            "lies above zero and no slice is shown to be worse."
        ),
        "比较挑战者时所权衡的一切：仅当区间整体高于零、且没有任何分片被证明变差时才会晋升。",
    ),
    "gate.tab.both": ("Side by side", "并排比较"),
    "gate.tab.slices": ("Slices", "分片"),
    "gate.tab.calibration": ("Calibration", "校准"),
    "gate.tab.stream": ("Stream of looks", "比较序列"),
    "gate.tab.robust": ("Seeds, typing errors, speed", "随机种子、错字与速度"),
    "gate.wins": ("{wins} examples won, {losses} lost", "赢 {wins} 例，输 {losses} 例"),
    "gate.p": ("p {p}", "p {p}"),
    "gate.measure": ("Measure", "指标"),
    "gate.difference": ("Difference", "差异"),
    "gate.better": ("better", "更好"),
    "gate.worse": ("worse", "更差"),
    "gate.cost.seconds_per_example": ("time per answer", "每次回答耗时"),
    "gate.cost.cpu_seconds": ("training, processor time", "训练所用处理器时间"),
    "gate.cost.energy_joules": ("training, energy", "训练能耗"),
    "gate.cost.money": ("training, money", "训练费用"),
    "gate.cost.weight_bytes": ("weights on disk", "权重文件大小"),
    "gate.sides.none": ("Nothing is known of one of the two sides.", "缺少其中一方的数据。"),
    "gate.slices.none": (
        "No slice of this test set was large enough to be judged.",
        "测试集中没有足够大的分片可供判断。",
    ),
    "gate.slices.note": (
        (
            "{better} not worse, {unknown} open, {worse} worse. The dotted line is the margin of {margin}: a "
            "loss beyond it is what the gate looks for. Rule: {rule}."
        ),
        (
            "{better} 个未变差，{unknown} 个未定，{worse} 个变差。虚线为容许界限 {margin}：关卡查找的正是超出"
            "它的损失。规则：{rule}。"
        ),
    ),
    "gate.rule.report": ("shown only", "仅展示"),
    "gate.rule.not_worse": ("a slice shown to be worse stops it", "任一分片被证明变差即不晋升"),
    "gate.rule.non_inferior": ("every slice must be shown not to be worse", "每个分片都须被证明未变差"),
    "gate.finding.not worse": ("not worse", "未变差"),
    "gate.finding.worse": ("worse", "变差"),
    "gate.finding.unknown": ("open", "未定"),
    "gate.slice.label": ("label {value}", "标签 {value}"),
    "gate.slice.source": ("source {value}", "来源 {value}"),
    "gate.slice.language": ("language {value}", "语言 {value}"),
    "gate.slice.group": ("group {value}", "组 {value}"),
    "gate.slice.length": ("{value} texts", "{value}文本"),
    "gate.length.short": ("short", "短"),
    "gate.length.medium": ("medium", "中等"),
    "gate.length.long": ("long", "长"),
    "gate.calibration.error": ("calibration error", "校准误差"),
    "gate.calibration.none": ("One of the two states no confidence.", "其中一方不给出把握程度。"),
    "gate.calibration.picture": (
        "How often answers were right, by how sure the model was",
        "按模型把握程度统计的正确率",
    ),
    "gate.calibration.x": ("how sure it was", "把握程度"),
    "gate.calibration.y": ("how often it was right", "正确率"),
    "gate.calibration.note": (
        (
            "On the dotted line a model is right as often as it says. Larger points hold more examples. It "
            "decides nothing."
        ),
        "落在虚线上表示正确率与把握程度一致；点越大样本越多。此项不参与裁决。",
    ),
    "gate.brier": (
        "Difference of squared errors (left of zero: the challenger knows better)",
        "平方误差之差（零点左侧：挑战者更清楚自己的把握）",
    ),
    "gate.stream.picture": ("Every comparison on this test set", "该测试集上的每次比较"),
    "gate.stream.none": ("A control: it spends none of the stream's error.", "对照模型：不消耗序列的容许误差。"),
    "gate.stream.budget": ("{count} of {budget} looks at this test set", "该测试集已用 {count} / {budget} 次比较"),
    "gate.stream.unbounded": ("{count} looks; they are not counted against each other", "{count} 次比较，互不计数"),
    "gate.stream.spent": (
        (
            "{spent} of the {error} chance of ever promoting what is no better has been spent; a promotion "
            "passes its share on."
        ),
        "“误晋升”的容许概率 {error} 已用去 {spent}；晋升会把自己的份额传给下一次。",
    ),
    "gate.stream.level": ("error that the look may spend", "该次比较可用的误差"),
    "gate.look": ("v{version} against {against}", "v{version} 对比 {against}"),
    "gate.verdict.promote": ("promoted", "晋升"),
    "gate.verdict.reject": ("rejected", "拒绝"),
    "gate.verdict.inconclusive": ("inconclusive", "未定"),
    "gate.seeds": ("With other seeds", "换用其他随机种子"),
    "gate.seeds.none": (
        "Trained with one seed; the policy asks for {asked}.",
        "只用一个随机种子训练；策略要求 {asked} 个。",
    ),
    "gate.seeds.note": (
        "Over {count} seeds, which differ by {spread} (standard deviation).",
        "{count} 个种子，彼此标准差 {spread}。",
    ),
    "gate.feedback": (
        "Feedback kept aside, {rows}; decides nothing",
        "留出的反馈，{rows}；不影响裁决",
    ),
    "gate.feedback.ends": ("({low} to {high})", "（{low} 至 {high}）"),
    "gate.probe": ("With typing errors and other words", "含错字与换词时"),
    "gate.probe.clean": ("{version}, as written", "{version}，原文"),
    "gate.probe.typos": ("{version}, mistyped", "{version}，含错字"),
    "gate.probe.words": ("{version}, in other words", "{version}，换种说法"),
    "gate.probe.time": ("Time per answer", "每次回答耗时"),
    "gate.probe.none": (
        "Not asked again with typing errors: only classifiers are.",
        "未做错字测试：仅对分类模型进行。",
    ),
    "gate.probe.note": (
        (
            "{count} test rows, {share} of the letters mistyped, or in other words by rules (synonyms, contractions, "
            "numbers, clauses); timed on the machine that judged. It decides nothing."
        ),
        (
            "{count} 条测试数据，{share} 的字母被打错，或按规则换种说法（同义词、缩写、数字、从句）；"
            "在评判所用机器上计时。此项不参与裁决。"
        ),
    ),
    "gate.reason": ("In the gate's words", "关卡原话"),
    "unit.megabytes": ("{value} MB", "{value} MB"),
    "unit.milliseconds": ("{value} ms", "{value} 毫秒"),
    "metric.calibration_error": ("calibration error", "校准误差"),
    "metric.closeness": ("closeness", "接近程度"),
    "metric.mse": ("mean squared error", "均方误差"),
    "metric.mae": ("mean absolute error", "平均绝对误差"),
    "metric.r2": ("variance explained (R²)", "解释方差（R²）"),
    "metric.spearman": ("rank correlation (Spearman)", "秩相关（Spearman）"),
    "lineage.choose": ("Version", "版本"),
    "lineage.version": ("Model version", "模型版本"),
    "lineage.recipe": ("Recipe", "配方"),
    "lineage.parent": ("Parent", "父模型"),
    "lineage.parent.base": ("public base weights", "公开的基础权重"),
    "lineage.parent.own": ("a version that was trained here", "本平台训练的版本"),
    "lineage.parent.none": ("trained from nothing", "从零训练"),
    "lineage.code": ("Code", "代码"),
    "lineage.rows": ("{rows} trained on", "训练用 {rows}"),
    "lineage.steps": ("{count} steps", "{count} 步"),
    "lineage.epochs": ("{count} epochs", "{count} 轮"),
    "lineage.seed": ("seed {seed}", "种子 {seed}"),
    "lineage.answers": ("Answers", "回答"),
    "lineage.answers.note": ("given by this version", "由该版本给出"),
    "lineage.answers.none": ("it has answered nobody", "尚未回答过任何人"),
    "lineage.said": ("answered", "已回答"),
    "lineage.newest": ("Its newest answers", "最近的回答"),
    "lineage.details": ("Every hash", "全部哈希值"),
    "parity.title": ("Served as trained", "服务与训练一致"),
    "parity.lead": (
        (
            "Each engine is held against the version's trainer on 100 texts and more: the same tokens, and differences "
            "of probabilities within a tolerance, alone and in a mixed batch. One that is further off may not serve it."
        ),
        "每个推理引擎都用一百条以上文本与训练器对照：词元须相同，概率之差须在容许范围内（单独与混合批次）。超出者不得提供服务。",
    ),
    "parity.none": (
        "This version was registered without being held against its trainer.",
        "该版本注册时未与训练器对照。",
    ),
    "parity.engine": ("Engine", "引擎"),
    "parity.precision": ("Precision", "精度"),
    "parity.verdict": ("Verdict", "结论"),
    "parity.probes": ("Texts", "文本数"),
    "parity.largest": ("Largest difference", "最大差异"),
    "parity.mean": ("Mean difference", "平均差异"),
    "parity.problem": ("Where it begins", "起始位置"),
    "parity.passed": ("passed", "通过"),
    "parity.blocked": ("blocked", "已阻止"),
    "parity.of": ("{value} of {tolerance}", "{value}（容许 {tolerance}）"),
    "measures.title": ("The loop as a whole", "整个闭环"),
    "measures.minutes": ("From a complaint to a better model", "从差评到更好的模型"),
    "measures.minutes.note": (
        "From the first “wrong” about v{before} to the first answer of v{after}.",
        "从首次指出 v{before} 有误，到 v{after} 首次作答。",
    ),
    "measures.minutes.none": (
        "Takes an answer found wrong, a promotion after it, and an answer of the new version.",
        "需要：一次差评、其后的一次晋升，以及新版本的首次作答。",
    ),
    "measures.false": ("False promotions of a stream", "一次序列中的误晋升"),
    "measures.at_most": ("at most {share}", "至多 {share}"),
    "measures.false.note": (
        "What the gate may err, over all looks at a test set. Promotions: {promotions}; roll-backs: {back}.",
        "关卡在同一测试集上所有比较中允许的总误差。已晋升 {promotions} 次，回滚 {back} 次。",
    ),
    "measures.back": ("Going back", "回滚用时"),
    "measures.back.note": (
        "The newest roll-back, from the journal's first entry until the alias had moved.",
        "最近一次回滚：从日志首条记录到别名移动完成。",
    ),
    "measures.back.none": ("Nobody has gone back yet.", "尚未回滚过。"),
    "measures.dropped": ("Requests dropped in going back", "回滚中丢弃的请求"),
    "measures.dropped.note": (
        "Of the newest roll-back and the ten seconds after: requests that the gateway did not answer by its own fault.",
        "最近一次回滚及其后十秒内，因网关自身原因未得到回答的请求。",
    ),
    "measures.lost": ("Feedback rows lost", "丢失的反馈行"),
    "measures.lost.note": (
        "{count} rows are there; each number that was ever given out should have its row.",
        "现有 {count} 行；每个发出的编号都应有对应的行。",
    ),
    "line.verdict.taken": ("{model}: taken back", "{model}：已回滚"),
    "models.bar.taken": ("Taken back: v{version}", "已回滚：v{version}"),
    "models.verdict.taken": ("Since then v{version} has been taken back.", "此后 v{version} 已被回滚。"),
    "actor.gate": ("the gate", "关卡"),
    "actor.watch": ("the watch", "监测"),
    "actor.operator": ("an operator", "运维人员"),
    "rollback.title": ("Roll back", "回滚"),
    "rollback.button": ("Roll back …", "回滚……"),
    "rollback.to": ("To which earlier champion", "回滚到哪个旧冠军"),
    "rollback.why": ("Why (kept in the journal)", "原因（记入日志）"),
    "rollback.lead": (
        (
            "{model} v{now} stops answering, the earlier version takes over within seconds, and the journal "
            "keeps who did it."
        ),
        "{model} v{now} 将停止回答，旧版本会在数秒内接替；日志会记下操作者。",
    ),
    "rollback.yes": ("Yes, roll back", "确认回滚"),
    "rollback.done": ("Rolled back to v{version}.", "已回滚到 v{version}。"),
    "rollback.refused": ("It was not rolled back", "未能回滚"),
    "rollback.blank": ("Say why: it stands in the journal.", "请填写原因：它会记入日志。"),
    "rollback.none": ("There is no earlier champion to go back to.", "没有可回滚的旧冠军。"),
    "tile.since": ("Last improvement", "最近一次改进"),
    "tile.since.note": ("{model} took over", "{model} 接替"),
    "tile.alive": ("Models alive", "在线模型"),
    "tile.alive.note": ("of {count} trained", "共训练 {count} 个"),
    "tile.waiting": ("Feedback waiting", "待处理反馈"),
    "tile.waiting.note": ("of {count} rows in all", "共 {count} 条"),
}
