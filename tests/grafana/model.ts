// What a dashboard of ours may say, by the types that Grafana publishes as @grafana/schema: the
// dashboard itself, the options of each kind of panel that we use, and the fields of each. What
// Grafana's types leave open (settings of a data source) is said here.
import type * as grafana from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as states from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

interface Query {
  refId: string;
  datasource: Required<grafana.DataSourceRef>;
  editorMode: 'code';
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
  format?: 'table';
}

type Fields<Custom> = Omit<grafana.FieldConfig, 'custom'> & { custom?: Custom };

interface Config<Custom> extends Omit<grafana.FieldConfigSource, 'defaults'> {
  defaults: Fields<Custom>;
}

interface Shown<Kind extends string, Options, Custom>
  extends Omit<grafana.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  id: number;
  title: string;
  description: string;
  gridPos: grafana.GridPos;
  type: Kind;
  options: Options;
  fieldConfig: Config<Custom>;
  targets: Query[];
}

type Panel =
  | Shown<'timeseries', Partial<timeseries.Options>, Partial<timeseries.FieldConfig>>
  | Shown<'stat', Partial<stat.Options>, undefined>
  | Shown<'table', Partial<table.Options>, Partial<grafana.TableFieldOptions>>
  | Shown<'state-timeline', Partial<states.Options>, Partial<states.FieldConfig>>
  | grafana.RowPanel;

interface Variable extends Omit<grafana.VariableModel, 'query'> {
  query: string | { query: string; refId: string };
  definition?: string;
}

interface Mark extends Omit<grafana.AnnotationQuery, 'target'> {
  target?: { refId: string; expr: string; interval: string };
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
  useValueForTime?: boolean;
}

export interface File extends Omit<grafana.Dashboard, 'panels' | 'templating' | 'annotations'> {
  uid: string;
  title: string;
  panels: Panel[];
  templating: { list: Variable[] };
  annotations: { list: Mark[] };
}
